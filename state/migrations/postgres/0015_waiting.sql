-- What keeps a run from beginning: its status is running, and it waits.
alter table runs add column gate text;
create index runs_that_wait on runs (project, started_at) where gate is not null;
