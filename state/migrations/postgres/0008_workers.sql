-- Machines that run jobs.
create table workers (
    name text primary key,
    labels text not null,
    pool text,
    slots bigint not null,
    provider text not null,
    version text not null,
    status text not null check (status in ('active', 'draining', 'disabled')),
    registered_at bigint not null,
    seen_at bigint not null,
    health text
);
