-- A run as a scheduler goes on with it: what never changes, what changes of it as a whole, and how often it did.
alter table runs add column project text;
alter table runs add column actor text not null default '';
alter table runs add column retry_of text;
alter table runs add column holder text;
-- The delivery that started it: a second one starts nothing.
alter table runs add column delivery text;
alter table runs add column version integer not null default 0;
alter table runs add column ordinal integer not null default 0;
alter table runs add column definition text;
alter table runs add column head text;

create unique index runs_by_delivery on runs (delivery) where delivery is not null;
create index runs_by_pipeline on runs (pipeline, started_at desc, id desc);
create index runs_by_project on runs (project, started_at desc, id desc);
create index runs_going_on on runs (started_at) where status = 'running';

-- What changes of each node of a run.
create table run_nodes (
    run text not null references runs (id),
    place integer not null,
    name text not null,
    status text not null,
    document text not null,
    primary key (run, place)
) strict, without rowid;

create index run_nodes_active on run_nodes (name) where status in ('queued', 'running');

-- Attempts that may run, and those that a worker has.
create table queue (
    number integer primary key,
    run text not null,
    node text not null,
    attempt integer not null,
    project text not null,
    needs text not null,
    priority integer not null,
    rank integer not null,
    enqueued_at integer not null,
    due_at integer not null,
    timeout integer,
    slot text,
    slot_mode text,
    status text not null check (status in ('blocked', 'ready', 'leased')),
    stop integer not null default 0,
    superseded_by text,
    token text,
    worker text,
    leased_at integer,
    expires_at integer,
    deadline_at integer,
    unique (run, node, attempt)
) strict;

create index queue_lines on queue (project, needs, rank, run, node) where status = 'ready';
create index queue_slots on queue (slot, status, rank) where slot is not null;
create index queue_leases on queue (worker) where status = 'leased';
create index queue_superseded on queue (run) where superseded_by is not null;

-- What was ever waited for: attempts of a project that need the same of a worker stand in one line.
create table queue_lanes (
    project text not null,
    needs text not null,
    primary key (project, needs)
) strict, without rowid;

-- How far each project has come with its share.
create table queue_shares (
    project text primary key,
    weight integer not null default 1,
    time integer not null default 0
) strict, without rowid;

-- How many places each concurrency group has.
create table queue_slots_of_groups (
    name text primary key,
    places integer not null
) strict, without rowid;

-- When somebody last looked after leases.
create table queue_watch (
    id integer primary key check (id = 1),
    seen_at integer not null
) strict;

insert into queue_watch (id, seen_at) values (1, 0);
