-- Machines that run jobs.
create table workers (
    name text primary key,
    labels text not null,
    pool text,
    slots integer not null,
    provider text not null,
    version text not null,
    status text not null check (status in ('active', 'draining', 'disabled')),
    registered_at integer not null,
    seen_at integer not null,
    health text
) strict, without rowid;
