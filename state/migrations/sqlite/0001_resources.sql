-- The one workspace that this database holds.
create table workspace (
    id integer primary key check (id = 1),
    lineage text not null,
    serial integer not null
) strict;

-- One apply.
create table changes (
    serial integer primary key,
    id text not null unique,
    at integer not null,
    actor text not null,
    message text,
    source_commit text,
    plan_fingerprint text not null,
    created integer not null,
    updated integer not null,
    renamed integer not null,
    deleted integer not null
) strict;

-- Every version that a resource ever had; the last one of a deleted resource has operation 'delete'.
create table revisions (
    uid text not null,
    generation integer not null,
    change_serial integer not null references changes (serial),
    operation text not null check (operation in ('create', 'update', 'rename', 'delete')),
    address text not null,
    owner text not null,
    fingerprint text not null,
    document text not null,
    primary key (uid, generation)
) strict;

create index revisions_by_address on revisions (address, change_serial);
create index revisions_by_change on revisions (change_serial);

-- The newest revision of each resource that exists.
create table heads (
    address text primary key,
    uid text not null unique,
    generation integer not null,
    foreign key (uid, generation) references revisions (uid, generation)
) strict, without rowid;

create trigger changes_stay before update on changes
begin select raise(abort, 'changes are append-only'); end;
create trigger changes_are_kept before delete on changes
begin select raise(abort, 'changes are append-only'); end;
create trigger revisions_stay before update on revisions
begin select raise(abort, 'revisions are append-only'); end;
create trigger revisions_are_kept before delete on revisions
begin select raise(abort, 'revisions are append-only'); end;
