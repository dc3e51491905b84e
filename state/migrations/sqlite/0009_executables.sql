-- A file that can be run as a program is one again where it is taken to.
alter table artifacts add column executable integer not null default 0 check (executable in (0, 1));
