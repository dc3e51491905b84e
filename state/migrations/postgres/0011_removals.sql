-- What retention removed or is about to remove: a row is there before anything of it is removed.
create table removals (
    subject text primary key,
    run text not null,
    name text,
    bytes bigint,
    reason text not null,
    decided_at bigint not null,
    removed_at bigint
);

create index removals_of_runs on removals (run, subject);
create index removals_open on removals (decided_at, subject) where removed_at is null;

-- When somebody last looked for what goes.
create table removal_sweeps (
    id bigint primary key check (id = 1),
    begun_at bigint not null
);
