-- One execution of a pipeline.
create table runs (
    id text primary key,
    pipeline text not null,
    event text not null,
    started_at integer not null,
    ended_at integer,
    status text not null check (status in ('running', 'succeeded', 'failed', 'cancelled'))
) strict;

create index runs_by_start on runs (started_at desc, id desc);

-- Every decision on a run, with its reason.
create table run_transitions (
    run text not null references runs (id),
    ordinal integer not null,
    at integer not null,
    node text,
    attempt integer,
    became text not null,
    reason text not null,
    primary key (run, ordinal)
) strict, without rowid;

create trigger run_transitions_stay before update on run_transitions
begin select raise(abort, 'transitions are append-only'); end;
