-- What was forgotten of the history, and who said so.
create table compactions (
    number integer primary key,
    at integer not null,
    actor text not null,
    until integer not null,
    changes integer not null,
    revisions integer not null
) strict;

-- Holds a row while a compaction is under way, within its transaction: nothing else may remove history.
create table compacting (id integer primary key check (id = 1)) strict;

drop trigger changes_are_kept;
drop trigger revisions_are_kept;
create trigger changes_are_kept before delete on changes when not exists (select 1 from compacting)
begin select raise(abort, 'changes are append-only'); end;
create trigger revisions_are_kept before delete on revisions when not exists (select 1 from compacting)
begin select raise(abort, 'revisions are append-only'); end;
create trigger outside_journal_is_kept before delete on outside_journal when not exists (select 1 from compacting)
begin select raise(abort, 'the journal is append-only'); end;
