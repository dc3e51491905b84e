-- The keys that values of secrets are sealed with, each wrapped by a master key that is never here. The last is current.
create table vault_keys (
    number integer primary key,
    id text not null unique,
    master text not null,
    nonce blob not null,
    ciphertext blob not null,
    created_at integer not null
) strict;

-- Values of secrets, sealed. A version never changes what it is of; deleted, it leaves that it was.
create table vault_versions (
    secret text not null,
    key text not null,
    version integer not null check (version > 0),
    address text not null,
    actor text not null,
    created_at integer not null,
    request text,
    data_key text references vault_keys (id),
    nonce blob,
    ciphertext blob,
    fingerprint text,
    deleted_at integer,
    deleted_by text,
    primary key (secret, key, version),
    check ((ciphertext is null) = (deleted_at is not null)),
    check ((ciphertext is null) = (data_key is null))
) strict;

create index vault_versions_by_data_key on vault_versions (data_key) where data_key is not null;

create trigger vault_versions_stay before delete on vault_versions
begin select raise(abort, 'versions of secrets are kept'); end;
create trigger vault_versions_are_what_they_were before update on vault_versions
when old.secret <> new.secret or old.key <> new.key or old.version <> new.version or old.address <> new.address
  or old.actor <> new.actor or old.created_at <> new.created_at or old.deleted_at is not null
begin select raise(abort, 'versions of secrets do not change'); end;
