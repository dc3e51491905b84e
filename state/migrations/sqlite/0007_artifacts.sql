-- Artifacts and caches. Their content lies in the storage, under the id; it is there before its row is.
create table artifacts (
    id text primary key,
    kind text not null check (kind in ('artifact', 'cache')),
    project text not null,
    source_origin text not null,
    reference text not null,
    run text not null,
    node text not null,
    attempt integer not null,
    name text not null,
    size integer not null check (size >= 0),
    sha256 text not null,
    trusted integer not null check (trusted in (0, 1)),
    secretless integer not null check (secretless in (0, 1)),
    created_at integer not null,
    expires_at integer
) strict;

create unique index artifacts_of_attempts on artifacts (run, node, attempt, name) where kind = 'artifact';
create unique index caches_of_namespaces on artifacts (project, source_origin, reference, name) where kind = 'cache';
create index artifacts_by_age on artifacts (created_at, id);
create index artifacts_of_projects on artifacts (project, created_at);
