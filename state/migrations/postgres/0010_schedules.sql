-- How far schedules have come. What is to be started is decided from this and the clock.
create table schedules (
    uid text primary key,
    version bigint not null,
    -- The cron fields and the zone that the rest is about.
    timing text not null,
    -- Every due time up to this one is settled.
    settled bigint not null,
    suspended bigint not null check (suspended in (0, 1)),
    last_due bigint,
    last_run text,
    skipped_due bigint,
    skipped_reason text,
    missed bigint not null
);
