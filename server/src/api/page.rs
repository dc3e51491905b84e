//! Lists come in pages: a limit, and a cursor to go on with.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Problem;

/// How many there are on a page where nothing is said.
pub const DEFAULT: u32 = 50;
/// How many there are at most.
pub const MOST: u32 = 1000;

/// Which part of a list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Goes on with an earlier list.
    pub cursor: Option<String>,
}

/// Which part of a list of what projects have.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectPaging {
    /// Those of a project. Needed by who may not read the whole workspace.
    pub project: Option<String>,
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Goes on with an earlier list.
    pub cursor: Option<String>,
}

/// A piece of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// What is in it.
    pub items: Vec<T>,
    /// Goes on after it, as `cursor`. Absent: this is the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How many to ask for: one more than fits, so that the end is known.
pub fn limit(wanted: Option<u32>) -> Result<u32, Problem> {
    match wanted.unwrap_or(DEFAULT) {
        limit @ 1..=MOST => Ok(limit),
        _ => Err(Problem::invalid(format!("limit is from 1 to {MOST}"))),
    }
}

impl<T> Page<T> {
    /// The page of a list that one more than `limit` was asked of; `cursor` says where an item is.
    pub fn of<C: Serialize>(mut items: Vec<T>, limit: u32, cursor: impl FnOnce(&T) -> C) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(|last| encode(&cursor(last)));
        Self { items, next }
    }

    /// All of a list.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// Nobody is to build one, so it does not look as if one could.
fn encode<C: Serialize>(cursor: &C) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(cursor).unwrap_or_default())
}

/// Reads a cursor back.
pub fn decode<C: DeserializeOwned>(cursor: Option<&str>) -> Result<Option<C>, Problem> {
    let Some(text) = cursor else { return Ok(None) };
    let read = || {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    read().map(Some).ok_or_else(|| Problem::invalid("the cursor is none that this list gave"))
}
