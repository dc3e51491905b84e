-- What each attempt used of its machine, written once with its end. It goes with its run.
create table run_usage (
    run text not null references runs (id) on delete cascade,
    node text not null,
    attempt bigint not null,
    cpu_ms bigint not null,
    memory_peak bigint not null,
    bytes_read bigint not null,
    bytes_written bigint not null,
    series text not null,
    primary key (run, node, attempt)
);
