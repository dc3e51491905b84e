-- How far schedules have come. What is to be started is decided from this and the clock.
create table schedules (
    uid text primary key,
    version integer not null,
    -- The cron fields and the zone that the rest is about.
    timing text not null,
    -- Every due time up to this one is settled.
    settled integer not null,
    suspended integer not null check (suspended in (0, 1)),
    last_due integer,
    last_run text,
    skipped_due integer,
    skipped_reason text,
    missed integer not null
) strict, without rowid;
