-- One execution of a pipeline.
create table runs (
    id text primary key,
    pipeline text not null,
    event text not null,
    started_at bigint not null,
    ended_at bigint,
    status text not null check (status in ('running', 'succeeded', 'failed', 'cancelled'))
);

create index runs_by_start on runs (started_at desc, id desc);

-- Every decision on a run, with its reason.
create table run_transitions (
    run text not null references runs (id),
    ordinal bigint not null,
    at bigint not null,
    node text,
    attempt bigint,
    became text not null,
    reason text not null,
    primary key (run, ordinal)
);

create trigger run_transitions_stay before update on run_transitions
for each row execute function refuse_change();
