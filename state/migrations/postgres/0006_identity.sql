-- Users, teams and service accounts. An address is compared in the form of email_key. Names and ids are ordered by
-- their bytes, whatever the database's locale.
create table accounts (
    kind text not null check (kind in ('user', 'team', 'service')),
    id text not null,
    name text collate "C" not null,
    email text,
    email_key text unique,
    superuser bigint not null check (superuser in (0, 1)),
    version bigint not null,
    created_at bigint not null,
    disabled_at bigint,
    primary key (kind, id),
    unique (kind, name)
);

-- Who is in which team, by the ids of both.
create table team_members (
    team text not null,
    member text not null,
    primary key (team, member)
);

create index team_members_by_member on team_members (member);

-- Tokens, without what opens the door. Those of jobs, workers and removed accounts have no row in accounts.
create table tokens (
    id text collate "C" primary key,
    secret_hash text not null,
    kind text not null check (kind in ('user', 'team', 'service', 'job', 'worker')),
    principal text not null,
    name text not null,
    capabilities text,
    project text,
    created_at bigint not null,
    expires_at bigint,
    last_used_at bigint,
    revoked_at bigint
);

create index tokens_by_principal on tokens (kind, principal);
create index tokens_revoked on tokens (revoked_at) where revoked_at is not null;
create index tokens_expiring on tokens (expires_at) where expires_at is not null;

-- Who did what. Each row holds the hash of the one before it.
create table audit (
    seq bigint primary key,
    at bigint not null,
    actor text not null,
    action text not null,
    target text not null,
    outcome text not null check (outcome in ('done', 'denied', 'failed')),
    detail text not null,
    request text,
    previous text not null,
    hash text not null
);

create index audit_by_actor on audit (actor, seq);
create index audit_by_target on audit (target, seq);

create trigger audit_stays before update or delete on audit
for each row execute function refuse_change();
create trigger audit_is_not_emptied before truncate on audit
for each statement execute function refuse_change();

-- Where the log ends. Who adds to it holds this row.
create table audit_head (
    id bigint primary key check (id = 1),
    seq bigint not null,
    hash text not null
);

insert into audit_head (id, seq, hash)
values (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

create trigger audit_head_grows before update on audit_head
for each row when (new.seq < old.seq) execute function refuse_change();
create trigger audit_head_is_kept before delete on audit_head
for each row execute function refuse_change();
