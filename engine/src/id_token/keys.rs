//! Which key signs, which are told to those who check, and when there is a new one.
//!
//! Whoever checks tokens keeps our keys for a while. So a new one is told a day before it signs, and an old one for as long
//! as something that it signed may be held against it.

pub mod conformance;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::LONGEST_MS;
use crate::protocol::spec::Sensitive;
use crate::scheduler::Millis;
use crate::store::StoreError;

const HOUR: Millis = 60 * 60 * 1000;
/// How long before it signs a key is told.
const TOLD_BEFORE: Millis = 24 * HOUR;
/// How old a key is when the next one is made.
const OLD: Millis = 30 * 24 * HOUR;
/// How long after its last signature a key is told.
const TOLD_AFTER: Millis = HOUR + LONGEST_MS;

/// A key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Which one, from 1. A number is never used again.
    pub number: u64,
    /// When it was made.
    pub created_at: Millis,
    /// The private key, in whatever form who signs wants it.
    pub private: Sensitive,
}

/// Keeps the keys that sign. Whatever a method has returned from survives the process; the private part is kept sealed.
#[async_trait]
pub trait SigningKeyStore: Send + Sync {
    /// All that there are, by number.
    async fn keys(&self) -> Result<Vec<SigningKey>, StoreError>;

    /// Adds one. `false`, and nothing is changed, where the number is not the one after the highest that ever was: somebody
    /// else was faster.
    async fn add(&self, key: &SigningKey) -> Result<bool, StoreError>;

    /// Forgets one. What is gone is no error.
    async fn forget(&self, number: u64, now: Millis) -> Result<(), StoreError>;

    /// The number of the next.
    async fn next(&self) -> Result<u64, StoreError>;
}

/// What is to be done with keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPlan {
    /// The one that signs.
    pub signs: Option<u64>,
    /// A new one is to be made.
    pub make: bool,
    /// Those that are to be forgotten.
    pub forget: Vec<u64>,
}

/// What is to be done with keys, given as number and age of each.
pub fn plan(keys: &[(u64, Millis)], now: Millis) -> KeyPlan {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    let signs_from = |index: usize| match index {
        // Nobody has heard of another one.
        0 => Millis::MIN,
        _ => keys[index].1.saturating_add(TOLD_BEFORE),
    };
    let signs = (0..keys.len()).rev().find(|index| signs_from(*index) <= now);
    let make = keys.last().is_none_or(|(_, at)| at.saturating_add(OLD - TOLD_BEFORE) <= now);
    let forget = signs.map_or_else(Vec::new, |signs| {
        // Each signed until the one after it did.
        let is_over = |index: &usize| signs_from(index + 1).saturating_add(TOLD_AFTER) <= now;
        (0..signs).filter(is_over).map(|index| keys[index].0).collect()
    });
    KeyPlan { signs: signs.map(|index| keys[index].0), make, forget }
}

/// Keys in memory, for tests and for servers that are gone tomorrow.
#[derive(Debug, Default)]
pub struct MemorySigningKeys {
    state: Mutex<(u64, BTreeMap<u64, SigningKey>)>,
}

impl MemorySigningKeys {
    fn with<T>(&self, work: impl FnOnce(&mut u64, &mut BTreeMap<u64, SigningKey>) -> T) -> T {
        let (highest, keys) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        work(highest, keys)
    }
}

#[async_trait]
impl SigningKeyStore for MemorySigningKeys {
    async fn keys(&self) -> Result<Vec<SigningKey>, StoreError> {
        Ok(self.with(|_, keys| keys.values().cloned().collect()))
    }

    async fn add(&self, key: &SigningKey) -> Result<bool, StoreError> {
        Ok(self.with(|highest, keys| {
            let follows = key.number == *highest + 1;
            if follows {
                *highest = key.number;
                keys.insert(key.number, key.clone());
            }
            follows
        }))
    }

    async fn forget(&self, number: u64, _: Millis) -> Result<(), StoreError> {
        self.with(|_, keys| drop(keys.remove(&number)));
        Ok(())
    }

    async fn next(&self) -> Result<u64, StoreError> {
        Ok(self.with(|highest, _| *highest + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Millis = 24 * HOUR;

    #[test]
    fn the_first_key_signs_at_once() {
        assert_eq!(plan(&[], 0), KeyPlan { signs: None, make: true, forget: vec![] });
        assert_eq!(plan(&[(1, 0)], 0), KeyPlan { signs: Some(1), make: false, forget: vec![] });
    }

    #[test]
    fn a_new_key_is_told_before_it_signs_and_an_old_one_after() {
        let at = |now| plan(&[(1, 0), (2, 29 * DAY)], now);
        assert!(plan(&[(1, 0)], 29 * DAY).make && !plan(&[(1, 0)], 29 * DAY - 1).make);
        assert_eq!(at(30 * DAY - 1), KeyPlan { signs: Some(1), make: false, forget: vec![] });
        assert_eq!(at(30 * DAY), KeyPlan { signs: Some(2), make: false, forget: vec![] });
        assert!(at(30 * DAY + TOLD_AFTER - 1).forget.is_empty());
        assert_eq!(at(30 * DAY + TOLD_AFTER).forget, [1]);
    }

    #[test]
    fn whatever_signed_a_token_is_told_until_the_token_is_over() {
        // A server that looks at random moments, also years apart, and with a clock that goes back a little.
        let mut random = fastrand::Rng::with_seed(7);
        let (mut keys, mut now, mut number) = (Vec::new(), 0, 0);
        let mut signed: Vec<(u64, Millis)> = Vec::new();
        for _ in 0..20_000 {
            now += if random.u8(..) == 0 { random.i64(0..400 * DAY) } else { random.i64(-5_000..DAY) };
            let planned = plan(&keys, now);
            keys.retain(|(number, _)| !planned.forget.contains(number));
            if planned.make {
                number += 1;
                keys.push((number, now));
            }
            let signs = plan(&keys, now).signs.expect("some key signs");
            signed.retain(|(_, until)| *until > now);
            signed.push((signs, now + LONGEST_MS));
            for (number, _) in &signed {
                assert!(keys.iter().any(|(known, _)| known == number), "{number} is not told at {now}");
            }
            assert!(keys.len() <= 4, "{keys:?}");
        }
    }

    #[tokio::test]
    async fn signing_keys_are_kept() {
        conformance::signing_keys_are_kept(&MemorySigningKeys::default()).await;
    }
}
