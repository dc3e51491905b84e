-- The keys that values of secrets are sealed with, each wrapped by a master key that is never here. The last is current.
create table vault_keys (
    number bigint primary key,
    id text not null unique,
    master text not null,
    nonce bytea not null,
    ciphertext bytea not null,
    created_at bigint not null
);

-- Values of secrets, sealed. A version never changes what it is of; deleted, it leaves that it was.
create table vault_versions (
    secret text not null,
    key text not null,
    version bigint not null check (version > 0),
    address text not null,
    actor text not null,
    created_at bigint not null,
    request text,
    data_key text references vault_keys (id),
    nonce bytea,
    ciphertext bytea,
    fingerprint text,
    deleted_at bigint,
    deleted_by text,
    primary key (secret, key, version),
    check ((ciphertext is null) = (deleted_at is not null)),
    check ((ciphertext is null) = (data_key is null))
);

create index vault_versions_by_data_key on vault_versions (data_key) where data_key is not null;

create trigger vault_versions_stay before delete on vault_versions
for each row execute function refuse_change();
create trigger vault_versions_are_kept before truncate on vault_versions
for each statement execute function refuse_change();
create trigger vault_versions_are_what_they_were before update on vault_versions
for each row when (old.secret <> new.secret or old.key <> new.key or old.version <> new.version
  or old.address <> new.address or old.actor <> new.actor or old.created_at <> new.created_at
  or old.deleted_at is not null)
execute function refuse_change();
