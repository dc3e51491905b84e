//! Masking: every registered value, in every form in which it commonly appears, is replaced by `***`.
//!
//! What is hidden is the *union* of all matches: with `abcd` and `cdef` registered, all of `abcdef` is
//! hidden. Bytes that are hidden side by side are shown as one [`MASK`]. Masking keeps a value out of a log;
//! it is not access control, since a job can print a value in a form that nobody foresees.
//!
//! A [`Masker`] works on a stream in pieces of any size and never depends on where they were cut. It holds
//! bytes back only while they could be the beginning of a registered form (a real test against the forms,
//! not a fixed delay), so a prompt appears at once; at most the longest form less one byte is held.

mod encodings;
pub mod names;
mod search;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use search::Patterns;

/// What is shown in place of hidden bytes.
pub const MASK: &[u8] = b"***";

/// The shortest value that can be masked, in bytes. Masking shorter ones would hide half of every log and
/// so tell what they are.
pub const MIN_LENGTH: usize = 4;

/// The longest value that can be masked, in bytes.
pub const MAX_LENGTH: usize = 256 << 10;

/// Why a value cannot be masked. It never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// Shorter than [`MIN_LENGTH`], not counting white space around it.
    #[error("a value of {length} bytes is too short to be masked, it needs at least {MIN_LENGTH}")]
    TooShort {
        /// Its length without the white space around it.
        length: usize,
    },
    /// Longer than [`MAX_LENGTH`].
    #[error("a value of {length} bytes is too long to be masked, at most {MAX_LENGTH} are possible")]
    TooLong {
        /// Its length.
        length: usize,
    },
}

/// Whether a value can be masked, without registering it.
pub fn check(value: &[u8]) -> Result<(), MaskError> {
    if value.len() > MAX_LENGTH {
        return Err(MaskError::TooLong { length: value.len() });
    }
    match value.trim_ascii().len() {
        length if length < MIN_LENGTH => Err(MaskError::TooShort { length }),
        _ => Ok(()),
    }
}

/// The registered values, shared by all streams that they are masked in. Cloning gives another handle to the
/// same values.
#[derive(Clone, Default)]
pub struct Values {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    patterns: RwLock<Arc<Patterns>>,
    /// Grows with each change of `patterns`, so that a stream notices one without taking the lock.
    version: AtomicU64,
}

impl Values {
    /// Registers some values; none of them if one cannot be masked.
    pub fn new<I>(values: I) -> Result<Self, MaskError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let all = Self::default();
        all.register_all(values)?;
        Ok(all)
    }

    /// Registers one more value. Streams mask it from their next piece on, bytes that they hold included.
    pub fn register(&self, value: impl AsRef<[u8]>) -> Result<(), MaskError> {
        self.register_all([value])
    }

    /// Registers more values at once, which is cheaper than one by one; none of them if one cannot be masked.
    pub fn register_all<I>(&self, values: I) -> Result<(), MaskError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let mut forms = Vec::new();
        for value in values {
            check(value.as_ref())?;
            encodings::forms(value.as_ref(), &mut forms);
        }
        if !forms.is_empty() {
            let mut patterns = self.shared.patterns.write().unwrap_or_else(PoisonError::into_inner);
            *patterns = Arc::new(patterns.with(forms));
            self.shared.version.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    /// A masker for one more stream.
    pub fn stream(&self) -> Masker {
        Masker {
            version: self.shared.version.load(Ordering::Acquire),
            patterns: self.patterns(),
            values: self.clone(),
            held: Vec::new(),
            hidden: 0,
            in_mask: false,
        }
    }

    /// A text with everything masked, for messages and reasons that may quote something secret.
    pub fn mask_str(&self, text: &str) -> String {
        let mut masked = Vec::with_capacity(text.len());
        let mut stream = self.stream();
        stream.push(text.as_bytes(), &mut masked);
        stream.flush(&mut masked);
        String::from_utf8(masked).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }

    /// Whether some bytes contain a registered value in any of its forms.
    pub fn occur_in(&self, bytes: &[u8]) -> bool {
        !self.patterns().matches(bytes).is_empty()
    }

    fn patterns(&self) -> Arc<Patterns> {
        self.shared.patterns.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Masks one stream.
pub struct Masker {
    values: Values,
    patterns: Arc<Patterns>,
    version: u64,
    /// Bytes that could be the beginning of a form, kept back.
    held: Vec<u8>,
    /// How many of `held`, from its start, a match hides already.
    hidden: usize,
    /// Whether the last thing written was a mask, which a hidden byte that follows extends.
    in_mask: bool,
}

impl Masker {
    /// A masker with its own values; see [`Values::stream`] for several streams with the same ones.
    pub fn new<I>(values: I) -> Result<Self, MaskError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        Ok(Values::new(values)?.stream())
    }

    /// Registers one more value, here and in every stream of the same values. It is masked in bytes that are
    /// still held and in all that follow.
    pub fn register(&mut self, value: impl AsRef<[u8]>) -> Result<(), MaskError> {
        self.values.register(value)
    }

    /// Takes the next piece of the stream and appends what may be shown to `out`.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.follow_registrations();
        if self.held.is_empty() {
            self.take(piece, out);
        } else {
            let mut bytes = std::mem::take(&mut self.held);
            bytes.extend_from_slice(piece);
            self.take(&bytes, out);
        }
    }

    /// The stream has ended, or pauses where a form cannot continue: what is held is shown, masked. The
    /// masker can be used for another stream after that.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        self.follow_registrations();
        let bytes = std::mem::take(&mut self.held);
        self.show(&bytes, bytes.len(), out);
        (self.hidden, self.in_mask) = (0, false);
    }

    /// How many bytes are held back at the moment.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let open = self.patterns.open_end(bytes);
        self.show(bytes, open, out);
        self.held.clear();
        self.held.extend_from_slice(&bytes[open..]);
    }

    /// Shows `bytes[..end]`, and opens the mask at once where a match hides what comes next; `hidden` says how
    /// far it reaches.
    fn show(&mut self, bytes: &[u8], end: usize, out: &mut Vec<u8>) {
        let mut at = 0;
        let before = (self.hidden > 0).then_some((0, self.hidden));
        for (from, to) in before.into_iter().chain(self.patterns.matches(bytes)) {
            self.show_plain(bytes, &mut at, from.min(end), out);
            if from > at {
                break;
            }
            if to > at {
                self.open_mask(out);
                at = to;
            }
        }
        self.show_plain(bytes, &mut at, end, out);
        self.hidden = at - end;
    }

    fn show_plain(&mut self, bytes: &[u8], at: &mut usize, to: usize, out: &mut Vec<u8>) {
        if *at < to {
            out.extend_from_slice(&bytes[*at..to]);
            self.in_mask = false;
            *at = to;
        }
    }

    fn open_mask(&mut self, out: &mut Vec<u8>) {
        if !self.in_mask {
            out.extend_from_slice(MASK);
            self.in_mask = true;
        }
    }

    fn follow_registrations(&mut self) {
        let version = self.values.shared.version.load(Ordering::Acquire);
        if version != self.version {
            self.patterns = self.values.patterns();
            self.version = version;
        }
    }
}
