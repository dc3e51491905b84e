-- One key may stand for a cache of each kind of job: what one of them wrote, the others may not all read.
drop index caches_of_namespaces;
create unique index caches_of_namespaces
    on artifacts (project, source_origin, reference, name, trusted, secretless) where kind = 'cache';
