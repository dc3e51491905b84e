-- A run as a scheduler goes on with it: what never changes, what changes of it as a whole, and how often it did.
alter table runs add column project text;
alter table runs add column actor text not null default '';
alter table runs add column retry_of text;
alter table runs add column holder text;
-- The delivery that started it: a second one starts nothing.
alter table runs add column delivery text;
alter table runs add column version bigint not null default 0;
alter table runs add column ordinal bigint not null default 0;
alter table runs add column definition text;
alter table runs add column head text;

create unique index runs_by_delivery on runs (delivery) where delivery is not null;
create index runs_by_pipeline on runs (pipeline, started_at desc, id desc);
create index runs_by_project on runs (project, started_at desc, id desc);
create index runs_going_on on runs (started_at) where status = 'running';

-- What changes of each node of a run.
create table run_nodes (
    run text not null references runs (id),
    place bigint not null,
    name text not null,
    status text not null,
    document text not null,
    primary key (run, place)
);

create index run_nodes_active on run_nodes (name) where status in ('queued', 'running');

-- Attempts that may run, and those that a worker has.
create table queue (
    number bigint generated always as identity primary key,
    run text not null,
    node text not null,
    attempt bigint not null,
    project text not null,
    needs text not null,
    priority bigint not null,
    rank bigint not null,
    enqueued_at bigint not null,
    due_at bigint not null,
    timeout bigint,
    slot text,
    slot_mode text,
    status text not null check (status in ('blocked', 'ready', 'leased')),
    stop bigint not null default 0,
    superseded_by text,
    token text,
    worker text,
    leased_at bigint,
    expires_at bigint,
    deadline_at bigint,
    unique (run, node, attempt)
);

create index queue_lines on queue (project, needs, rank, run, node) where status = 'ready';
create index queue_slots on queue (slot, status, rank) where slot is not null;
create index queue_leases on queue (worker) where status = 'leased';
create index queue_superseded on queue (run) where superseded_by is not null;

-- What was ever waited for: attempts of a project that need the same of a worker stand in one line.
create table queue_lanes (
    project text not null,
    needs text not null,
    primary key (project, needs)
);

-- How far each project has come with its share.
create table queue_shares (
    project text primary key,
    weight bigint not null default 1,
    time bigint not null default 0
);

-- How many places each concurrency group has.
create table queue_slots_of_groups (
    name text primary key,
    places bigint not null
);

-- When somebody last looked after leases.
create table queue_watch (
    id bigint primary key check (id = 1),
    seen_at bigint not null
);

insert into queue_watch (id, seen_at) values (1, 0);
