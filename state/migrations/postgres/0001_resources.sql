-- The one workspace that this schema holds.
create table workspace (
    id bigint primary key check (id = 1),
    lineage text not null,
    serial bigint not null
);

-- One apply.
create table changes (
    serial bigint primary key,
    id text not null unique,
    at bigint not null,
    actor text not null,
    message text,
    source_commit text,
    plan_fingerprint text not null,
    created bigint not null,
    updated bigint not null,
    renamed bigint not null,
    deleted bigint not null
);

-- Every version that a resource ever had; the last one of a deleted resource has operation 'delete'.
create table revisions (
    uid text not null,
    generation bigint not null,
    change_serial bigint not null references changes (serial),
    operation text not null check (operation in ('create', 'update', 'rename', 'delete')),
    address text not null,
    owner text not null,
    fingerprint text not null,
    document text not null,
    primary key (uid, generation)
);

create index revisions_by_address on revisions (address, change_serial);
create index revisions_by_change on revisions (change_serial);

-- The newest revision of each resource that exists.
create table heads (
    address text primary key,
    uid text not null unique,
    generation bigint not null,
    foreign key (uid, generation) references revisions (uid, generation)
);

create function refuse_change() returns trigger language plpgsql as
$$ begin raise exception '% is append-only', tg_table_name; end $$;

create trigger changes_stay before update or delete on changes
for each row execute function refuse_change();
create trigger revisions_stay before update or delete on revisions
for each row execute function refuse_change();
