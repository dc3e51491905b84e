-- Users, teams and service accounts. An address is compared in the form of email_key.
create table accounts (
    kind text not null check (kind in ('user', 'team', 'service')),
    id text not null,
    name text not null,
    email text,
    email_key text unique,
    superuser integer not null check (superuser in (0, 1)),
    version integer not null,
    created_at integer not null,
    disabled_at integer,
    primary key (kind, id),
    unique (kind, name)
) strict, without rowid;

-- Who is in which team, by the ids of both.
create table team_members (
    team text not null,
    member text not null,
    primary key (team, member)
) strict, without rowid;

create index team_members_by_member on team_members (member);

-- Tokens, without what opens the door. Those of jobs, workers and removed accounts have no row in accounts.
create table tokens (
    id text primary key,
    secret_hash text not null,
    kind text not null check (kind in ('user', 'team', 'service', 'job', 'worker')),
    principal text not null,
    name text not null,
    capabilities text,
    project text,
    created_at integer not null,
    expires_at integer,
    last_used_at integer,
    revoked_at integer
) strict, without rowid;

create index tokens_by_principal on tokens (kind, principal);
create index tokens_revoked on tokens (revoked_at) where revoked_at is not null;
create index tokens_expiring on tokens (expires_at) where expires_at is not null;

-- Who did what. Each row holds the hash of the one before it.
create table audit (
    seq integer primary key,
    at integer not null,
    actor text not null,
    action text not null,
    target text not null,
    outcome text not null check (outcome in ('done', 'denied', 'failed')),
    detail text not null,
    request text,
    previous text not null,
    hash text not null
) strict;

create index audit_by_actor on audit (actor, seq);
create index audit_by_target on audit (target, seq);

create trigger audit_stays before update on audit
begin select raise(abort, 'audit is append-only'); end;
create trigger audit_is_kept before delete on audit
begin select raise(abort, 'audit is append-only'); end;

-- Where the log ends. Who adds to it holds this row.
create table audit_head (
    id integer primary key check (id = 1),
    seq integer not null,
    hash text not null
) strict;

insert into audit_head (id, seq, hash)
values (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

create trigger audit_head_grows before update on audit_head when new.seq < old.seq
begin select raise(abort, 'audit is append-only'); end;
create trigger audit_head_is_kept before delete on audit_head
begin select raise(abort, 'audit is append-only'); end;
