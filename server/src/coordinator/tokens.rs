//! What tokens leases get, by which whoever has one shows that it was given to it, and by which what was given and not heard
//! of is found again.

use std::sync::{Mutex, PoisonError};

/// What tokens leases get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tokens {
    /// New ones each time.
    Random,
    /// New ones that begin with this.
    Marked(String),
    /// What the worker has made up for this claim; again, if it heard nothing of it the first time.
    Given {
        /// The token.
        token: String,
        /// Whether something may have been given already.
        again: bool,
    },
}

/// Gives each claim a token. One under which something may have been given that nobody heard of is given again.
pub(super) struct TokenMaker {
    tokens: Tokens,
    unheard: Mutex<Vec<String>>,
}

/// A claim. Unless it was heard of, or nothing was asked, its token is given again once it is dropped.
pub(super) struct Turn<'a> {
    maker: &'a TokenMaker,
    token: String,
    again: bool,
    unheard: bool,
}

impl TokenMaker {
    pub fn new(tokens: Tokens) -> Self {
        Self { tokens, unheard: Mutex::default() }
    }

    pub fn turn(&self) -> Turn<'_> {
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let is_unheard = unheard.is_some();
        let (token, again) = match (unheard, &self.tokens) {
            (Some(token), _) => (token, true),
            (None, Tokens::Random) => (random(), false),
            (None, Tokens::Marked(mark)) => (mark.clone() + &random(), false),
            (None, Tokens::Given { token, again }) => (token.clone(), *again),
        };
        Turn { maker: self, token, again, unheard: is_unheard }
    }
}

impl Turn<'_> {
    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whether something may have been given under it before.
    pub fn is_again(&self) -> bool {
        self.again
    }

    /// The token, about to be asked with.
    pub fn asked(&mut self) -> &str {
        self.unheard = true;
        &self.token
    }

    /// There was an answer. If nobody asked with it before, nothing else was given under it.
    pub fn answered(&mut self) {
        self.unheard = self.again;
    }

    /// What was given under it goes to who asked, and it is used up.
    pub fn heard(&mut self) {
        self.unheard = false;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.unheard {
            let token = std::mem::take(&mut self.token);
            self.maker.unheard.lock().unwrap_or_else(PoisonError::into_inner).push(token);
        }
    }
}
