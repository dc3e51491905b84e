-- What each attempt used of its machine, written once with its end. It goes with its run.
create table run_usage (
    run text not null references runs (id) on delete cascade,
    node text not null,
    attempt integer not null,
    cpu_ms integer not null,
    memory_peak integer not null,
    bytes_read integer not null,
    bytes_written integer not null,
    series text not null,
    primary key (run, node, attempt)
) strict, without rowid;
