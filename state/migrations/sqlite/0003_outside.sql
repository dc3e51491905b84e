-- Objects behind other systems' APIs that are ours, or may be.
create table outside_objects (
    uid text not null,
    collection text not null,
    id text not null,
    begun integer not null check (begun in (0, 1)),
    applied text,
    tried text,
    primary key (uid, collection, id)
) strict, without rowid;

-- What commits owe to the outside: the outbox. A later task for the same place makes an older one void.
create table outside_tasks (
    serial integer not null,
    ordinal integer not null,
    uid text not null,
    address text not null,
    collection text not null,
    id text not null,
    goal text not null check (goal in ('put', 'remove')),
    document text not null,
    status text not null check (status in ('owed', 'done', 'void')),
    primary key (serial, ordinal)
) strict;

create index outside_tasks_owed on outside_tasks (collection, id) where status = 'owed';

-- What was tried for each task, before and after.
create table outside_journal (
    number integer primary key,
    serial integer not null,
    ordinal integer not null,
    at integer not null,
    token integer not null,
    event text not null check (event in ('begun', 'done', 'failed')),
    detail text
) strict;

create index outside_journal_by_task on outside_journal (serial, ordinal);

create trigger outside_journal_stays before update on outside_journal
begin select raise(abort, 'the journal is append-only'); end;

-- Who carries out what is owed, and until when. The token grows each time that it goes to somebody.
create table leases (
    name text primary key,
    holder text not null,
    token integer not null,
    expires_at integer not null
) strict;

insert into leases (name, holder, token, expires_at) values ('outside', '', 0, 0);
