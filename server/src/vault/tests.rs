//! The vault with its keys: values through every step of a rotation, keys that are not there, rows that somebody moved, and
//! master keys from where they are kept.

use std::sync::Arc;

use async_trait::async_trait;
use reactorcide_engine::config::Kind;
use reactorcide_engine::vault::{MemoryVault, Resealed};

use super::*;

fn master(seed: u8) -> MasterKey {
    MasterKey::new(Zeroizing::new([seed; KEY]))
}

fn workspace() -> Lineage {
    Lineage("workspace".to_owned())
}

fn secret(name: &str) -> Secret {
    Secret {
        workspace: workspace(),
        uid: Uid(format!("uid of {name}")),
        address: Address::new(Kind::Secret, None, name),
    }
}

const BY: Setting<'static> = Setting { actor: "user:ada", now: 1, request: None };

async fn set(vault: &Vault, name: &str, value: &str) -> u64 {
    let version = vault.set(&secret(name), "value", &Sensitive::new(value), &BY).await.expect("it is set");
    version.place.version
}

async fn get(vault: &Vault, name: &str) -> Result<Option<String>, VaultError> {
    let value = vault.value(&workspace(), &secret(name).uid, "value").await?;
    Ok(value.map(|(_, value)| value.expose().to_owned()))
}

#[tokio::test]
async fn a_value_is_set_and_read_and_the_newest_counts() {
    let vault = Vault::new(Arc::<MemoryVault>::default(), vec![master(1)]);
    assert_eq!(get(&vault, "a").await.expect("an answer"), None);
    assert_eq!(set(&vault, "a", "first value").await, 1);
    assert_eq!(set(&vault, "a", "second value").await, 2);
    assert_eq!(get(&vault, "a").await.expect("an answer").as_deref(), Some("second value"));
    let count = vault.delete(&secret("a").uid, |place| place.version == 2, "user:ada", 2).await;
    assert_eq!(count.expect("a count"), 1);
    assert_eq!(get(&vault, "a").await.expect("an answer").as_deref(), Some("first value"));
    let short = vault.set(&secret("a"), "value", &Sensitive::new("abc"), &BY).await;
    assert!(matches!(short, Err(VaultError::Value(_))));
}

#[tokio::test]
async fn a_request_that_comes_twice_sets_one_value() {
    let vault = Vault::new(Arc::<MemoryVault>::default(), vec![master(1)]);
    let by = Setting { request: Some("r"), ..BY };
    let first = vault.set(&secret("a"), "value", &Sensitive::new("S3CRET"), &by).await.expect("it is set");
    let again = vault.set(&secret("a"), "value", &Sensitive::new("S3CRET"), &by).await.expect("it is there");
    assert_eq!(first, again);
    let other = vault.set(&secret("a"), "value", &Sensitive::new("0THER"), &by).await;
    assert!(matches!(other, Err(VaultError::Reused)));
}

#[tokio::test]
async fn without_its_master_key_nothing_opens_and_nothing_is_set() {
    let rows = Arc::<MemoryVault>::default();
    let vault = |masters: &[u8]| Vault::new(rows.clone(), masters.iter().map(|seed| master(*seed)).collect());
    set(&vault(&[1]), "a", "S3CRET").await;
    assert!(matches!(get(&vault(&[]), "a").await, Err(VaultError::NoMaster)));
    assert!(matches!(get(&vault(&[2]), "a").await, Err(VaultError::Locked { .. })));
    assert_eq!(get(&vault(&[2, 1]), "a").await.expect("it opens").as_deref(), Some("S3CRET"));
    let other = vault(&[2]).set(&secret("a"), "value", &Sensitive::new("0THER"), &BY).await;
    assert!(matches!(other, Err(VaultError::Locked { .. })));
    assert!(matches!(vault(&[2]).rotate(&workspace(), 2).await, Err(VaultError::Locked { .. })));
    assert_eq!(rows.keys().await.expect("keys").len(), 1, "a rotation that cannot be done changes nothing");
}

#[tokio::test]
async fn a_rotation_leaves_every_value_readable_and_the_old_keys_free() {
    let rows = Arc::<MemoryVault>::default();
    let old = Vault::new(rows.clone(), vec![master(1)]);
    for number in 0..450 {
        set(&old, &format!("s{number}"), &format!("value {number}")).await;
    }
    let both = Vault::new(rows.clone(), vec![master(2), master(1)]);
    let first = rows.keys().await.expect("keys")[0].key.id.clone();
    assert!(matches!(both.retire(&first.0).await, Err(VaultError::InUse { .. })));
    assert!(matches!(both.retire(&master(1).id().0).await, Err(VaultError::InUse { .. })));
    let rotated = both.rotate(&workspace(), 2).await.expect("it is rotated");
    assert_eq!((rotated.resealed, rotated.rewrapped, rotated.damaged.len()), (450, 1, 0));
    // The new master key alone opens everything from here on.
    let new = Vault::new(rows.clone(), vec![master(2)]);
    for number in 0..450 {
        let value = get(&new, &format!("s{number}")).await.expect("it opens");
        assert_eq!(value, Some(format!("value {number}")));
    }
    assert_eq!(
        both.retire(&master(1).id().0).await.expect("it is free"),
        Retired::Master(master(1).id().clone())
    );
    assert!(matches!(both.retire(&master(2).id().0).await, Err(VaultError::InUse { .. })));
    assert_eq!(both.retire(&first.0).await.expect("it is free"), Retired::Data(first.clone()));
    assert!(matches!(both.retire(&first.0).await, Err(VaultError::NoKey(_))));
    assert!(matches!(both.retire(&rotated.key.0).await, Err(VaultError::InUse { .. })));
}

/// Rows behind which the process ends after so many writes.
struct Ending {
    rows: Arc<MemoryVault>,
    left: Mutex<u32>,
}

impl Ending {
    fn write(&self) -> Result<(), StoreError> {
        let mut left = self.left.lock().expect("nobody panics");
        if *left == 0 {
            return Err(StoreError::Full { location: "killed".to_owned() });
        }
        *left -= 1;
        Ok(())
    }
}

#[async_trait]
impl VaultStore for Ending {
    async fn keys(&self) -> Result<Vec<KeyUse>, StoreError> {
        self.rows.keys().await
    }
    async fn add_key(&self, key: &WrappedKey, before: Option<&KeyId>) -> Result<bool, StoreError> {
        self.write()?;
        self.rows.add_key(key, before).await
    }
    async fn rewrap(&self, key: &WrappedKey, before: &KeyId) -> Result<bool, StoreError> {
        self.write()?;
        self.rows.rewrap(key, before).await
    }
    async fn forget_key(&self, id: &KeyId) -> Result<bool, StoreError> {
        self.write()?;
        self.rows.forget_key(id).await
    }
    async fn versions(&self, secret: Option<&Uid>) -> Result<Vec<Version>, StoreError> {
        self.rows.versions(secret).await
    }
    async fn sealed_otherwise(&self, current: &KeyId, limit: u32) -> Result<Vec<Version>, StoreError> {
        self.rows.sealed_otherwise(current, limit.min(2)).await
    }
    async fn add(&self, version: &Version) -> Result<bool, StoreError> {
        self.write()?;
        self.rows.add(version).await
    }
    async fn reseal(&self, resealed: &[Resealed]) -> Result<u64, StoreError> {
        self.write()?;
        self.rows.reseal(resealed).await
    }
    async fn delete(&self, places: &[Place], at: Millis, by: &str) -> Result<u64, StoreError> {
        self.write()?;
        self.rows.delete(places, at, by).await
    }
}

#[tokio::test]
async fn killed_at_any_step_of_a_rotation_every_value_can_be_read_and_another_one_goes_on() {
    for writes in 0..12 {
        let rows = Arc::<MemoryVault>::default();
        let old = Vault::new(rows.clone(), vec![master(1)]);
        for number in 0..9 {
            set(&old, &format!("s{number}"), &format!("value {number}")).await;
        }
        let ending = Arc::new(Ending { rows: rows.clone(), left: Mutex::new(writes) });
        let _ = Vault::new(ending, vec![master(2), master(1)]).rotate(&workspace(), 2).await;
        let both = Vault::new(rows.clone(), vec![master(2), master(1)]);
        let all_open = || async {
            for number in 0..9 {
                let value = get(&both, &format!("s{number}")).await.expect("it opens");
                assert_eq!(value, Some(format!("value {number}")), "after {writes} writes");
            }
        };
        all_open().await;
        let rotated = both.rotate(&workspace(), 3).await.expect("it goes on");
        all_open().await;
        let uses = rows.keys().await.expect("keys");
        assert_eq!((uses[0].key.id.clone(), uses[0].values), (rotated.key, 9));
        assert!(uses.iter().all(|one| one.key.master == *master(2).id()));
    }
}

#[tokio::test]
async fn a_row_that_was_moved_does_not_open_and_stops_nobody_else() {
    let rows = Arc::<MemoryVault>::default();
    let vault = Vault::new(rows.clone(), vec![master(1)]);
    for name in ["a", "b", "c"] {
        set(&vault, name, &format!("value of {name}")).await;
    }
    // Somebody who can write to the database gives `a` the value of `b`.
    let of = async |name: &str| rows.versions(Some(&secret(name).uid)).await.expect("versions").remove(0);
    let (a, b) = (of("a").await, of("b").await);
    let swapped = Resealed {
        place: a.place.clone(),
        before: a.sealed().expect("sealed").clone(),
        after: b.sealed().expect("sealed").clone(),
    };
    assert_eq!(rows.reseal(&[swapped]).await.expect("a count"), 1);
    assert!(matches!(get(&vault, "a").await, Err(VaultError::Damaged { .. })));
    assert_eq!(get(&vault, "b").await.expect("it opens").as_deref(), Some("value of b"));
    let rotated = vault.rotate(&workspace(), 2).await.expect("it is rotated");
    assert_eq!((rotated.resealed, rotated.damaged.len()), (2, 1));
    assert_eq!(get(&vault, "c").await.expect("it opens").as_deref(), Some("value of c"));
}

#[test]
fn a_master_key_beside_a_state_is_made_once_and_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    assert!(beside(directory.path(), false).expect("an answer").is_none());
    let (made, path, is_new) = beside(directory.path(), true).expect("a key").expect("it is made");
    assert!(is_new);
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (read, _, is_new) = beside(directory.path(), true).expect("a key").expect("it is there");
    assert!(!is_new);
    assert_eq!(made.id(), read.id());
    assert_eq!(std::fs::read_dir(directory.path()).expect("a list").count(), 1);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("it is changed");
    assert!(matches!(beside(directory.path(), true), Err(MasterError::Open(_))));
}

#[test]
fn master_keys_come_from_files_variables_and_programs() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("key");
    let bytes: [u8; KEY] = std::array::from_fn(|index| index as u8 * 5 + 1);
    let key = MasterKey::new(Zeroizing::new(bytes));
    std::fs::write(&path, format!("{}\n", key.to_text().as_str())).expect("it is written");
    let load = |text: String| text.parse::<MasterSource>().and_then(|source| source.load());
    let found = load(format!("file:{}", path.display())).expect("a key");
    assert_eq!(found.id(), key.id());
    let found = load(format!("command:cat {}", path.display())).expect("a key");
    assert_eq!(found.id(), key.id());
    for text in
        ["file:/nowhere/at/all", "env:REACTORCIDE_NO_SUCH_VARIABLE", "command:false", "command:/nowhere"]
    {
        assert!(matches!(load(text.to_owned()), Err(MasterError::Unreadable { .. })), "{text}");
    }
    assert!(matches!(load("command:echo short".to_owned()), Err(MasterError::Form { .. })));
    for text in ["", "file:", "c2VjcmV0", "other:x", "command: "] {
        let error = load(text.to_owned()).expect_err("an error");
        assert!(matches!(error, MasterError::Source), "{text}");
        assert!(!error.to_string().contains("c2VjcmV0"));
    }
}
