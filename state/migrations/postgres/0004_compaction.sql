-- What was forgotten of the history, and who said so.
create table compactions (
    number bigint generated always as identity primary key,
    at bigint not null,
    actor text not null,
    until bigint not null,
    changes bigint not null,
    revisions bigint not null
);

-- Holds a row while a compaction is under way, within its transaction: nothing else may remove history.
create table compacting (id bigint primary key check (id = 1));

-- It looks where it was made, whatever the caller looks at.
create function refuse_removal() returns trigger language plpgsql set search_path from current as
$$ begin
    if exists (select 1 from compacting) then return old; end if;
    raise exception '% is append-only', tg_table_name;
end $$;

drop trigger changes_stay on changes;
drop trigger revisions_stay on revisions;
create trigger changes_stay before update on changes for each row execute function refuse_change();
create trigger changes_are_kept before delete on changes for each row execute function refuse_removal();
create trigger revisions_stay before update on revisions for each row execute function refuse_change();
create trigger revisions_are_kept before delete on revisions for each row execute function refuse_removal();
create trigger outside_journal_is_kept before delete on outside_journal
for each row execute function refuse_removal();
