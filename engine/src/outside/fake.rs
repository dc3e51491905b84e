//! A system in memory that holds objects, for tests: it remembers every request that changed one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;

use super::{Access, Outside, OutsideError, Place, Precondition, Seen};

/// A system in memory.
#[derive(Debug, Default)]
pub struct FakeOutside {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<Place, (u64, Value)>,
    effects: Vec<String>,
    refused: BTreeMap<Place, OutsideError>,
    fence: u64,
}

impl FakeOutside {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object at a place.
    pub fn object(&self, place: &Place) -> Option<Value> {
        self.lock().objects.get(place).map(|(_, body)| body.clone())
    }

    /// Where there are objects.
    pub fn places(&self) -> Vec<Place> {
        self.lock().objects.keys().cloned().collect()
    }

    /// Changes an object behind our back, or deletes it.
    pub fn tamper(&self, place: &Place, body: Option<Value>) {
        let mut inner = self.lock();
        let version = inner.objects.remove(place).map_or(0, |(version, _)| version) + 1;
        inner.objects.extend(body.map(|body| (place.clone(), (version, body))));
    }

    /// Answers every request for a place with an error from now on, or no more.
    pub fn refuse(&self, place: &Place, error: Option<OutsideError>) {
        let mut inner = self.lock();
        match error {
            Some(error) => drop(inner.refused.insert(place.clone(), error)),
            None => drop(inner.refused.remove(place)),
        }
    }

    /// What was done, in order: `create`, `replace` or `remove`, and where.
    pub fn effects(&self) -> Vec<String> {
        self.lock().effects.clone()
    }
}

impl Inner {
    fn enter(&mut self, access: &Access) -> Result<(), OutsideError> {
        // One that was overtaken is refused, as a system does that remembers the fence.
        if let Some(fence) = access.fence.as_ref().map(|fence| fence.token) {
            if fence < self.fence {
                return Err(OutsideError::Moved { place: access.place.clone() });
            }
            self.fence = fence;
        }
        self.refused.get(&access.place).map_or(Ok(()), |error| Err(error.clone()))
    }
}

#[async_trait]
impl Outside for FakeOutside {
    async fn look(&self, access: &Access) -> Result<Option<Seen>, OutsideError> {
        let mut inner = self.lock();
        inner.enter(access)?;
        let found = inner.objects.get(&access.place);
        Ok(found.map(|(version, body)| Seen {
            body: body.clone(),
            shown: body.clone(),
            version: Some(version.to_string()),
        }))
    }

    async fn put(&self, access: &Access, body: &Value, only_if: &Precondition) -> Result<(), OutsideError> {
        let mut inner = self.lock();
        inner.enter(access)?;
        let place = &access.place;
        let version = inner.objects.get(place).map(|(version, _)| *version);
        let holds = match only_if {
            Precondition::None => true,
            Precondition::Absent => version.is_none(),
            Precondition::Version(wanted) => version.is_some_and(|version| version.to_string() == *wanted),
        };
        if !holds {
            return Err(OutsideError::Moved { place: place.clone() });
        }
        let word = if version.is_some() { "replace" } else { "create" };
        inner.effects.push(format!("{word} {place}"));
        inner.objects.insert(place.clone(), (version.unwrap_or_default() + 1, body.clone()));
        Ok(())
    }

    async fn remove(&self, access: &Access) -> Result<(), OutsideError> {
        let mut inner = self.lock();
        inner.enter(access)?;
        if inner.objects.remove(&access.place).is_some() {
            inner.effects.push(format!("remove {}", access.place));
        }
        Ok(())
    }
}
