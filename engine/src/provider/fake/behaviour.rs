//! What a test tells the fake: what containers do, which calls are meant, and what was called.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::provider::{ContainerId, ContainerSpec, Exit, Owner, PullPolicy};

/// What a container does once it runs: steps in order. After the last it ends with 0.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    pub(super) steps: VecDeque<Step>,
    pub(super) on_term: OnTerm,
    pub(super) disk_usage: u64,
}

/// One thing that a container does.
#[derive(Clone)]
pub enum Step {
    /// Prints to standard output, or to standard error.
    Print {
        /// To standard error.
        stderr: bool,
        /// What.
        bytes: Vec<u8>,
    },
    /// Waits for `Fake::release_paused`.
    Pause,
    /// Asks the function whenever more input has come, with all input so far and whether it is closed, until
    /// it returns steps; goes on with those.
    OnInput(InputHandler),
    /// Ends.
    Exit(Exit),
    /// Does nothing until it is stopped.
    Hang,
}

/// Reads all input so far, and whether it is closed; `None` waits for more.
pub type InputHandler = Arc<dyn Fn(&[u8], bool) -> Option<Vec<Step>> + Send + Sync>;

/// What a container does on SIGTERM.
#[derive(Debug, Clone, Default)]
pub(super) enum OnTerm {
    /// Ends with 143.
    #[default]
    End,
    /// Nothing.
    Ignore,
    /// Goes on with these steps instead.
    Do(VecDeque<Step>),
}

impl Behaviour {
    /// Ends at once with 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Then does `step`.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }

    /// Then prints to standard output.
    #[must_use]
    pub fn prints(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Print { stderr: false, bytes: bytes.into() })
    }

    /// Then prints to standard error.
    #[must_use]
    pub fn prints_error(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Print { stderr: true, bytes: bytes.into() })
    }

    /// Then waits for the test.
    #[must_use]
    pub fn pauses(self) -> Self {
        self.then(Step::Pause)
    }

    /// Then reads its input until `handler` returns steps, and does those.
    #[must_use]
    pub fn on_input(
        self,
        handler: impl Fn(&[u8], bool) -> Option<Vec<Step>> + Send + Sync + 'static,
    ) -> Self {
        self.then(Step::OnInput(Arc::new(handler)))
    }

    /// Then hangs until it is stopped.
    #[must_use]
    pub fn hangs(self) -> Self {
        self.then(Step::Hang)
    }

    /// Then ends.
    #[must_use]
    pub fn exits(self, code: i64) -> Self {
        self.then(Step::Exit(Exit { code, oom: false }))
    }

    /// Then is killed for lack of memory.
    #[must_use]
    pub fn exceeds_memory(self) -> Self {
        self.then(Step::Exit(Exit { code: 137, oom: true }))
    }

    /// Ignores SIGTERM, so that only SIGKILL ends it.
    #[must_use]
    pub fn ignores_term(mut self) -> Self {
        self.on_term = OnTerm::Ignore;
        self
    }

    /// Does these steps on SIGTERM, instead of ending with 143.
    #[must_use]
    pub fn on_term(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.on_term = OnTerm::Do(steps.into_iter().collect());
        self
    }

    /// Has written this much to its own file system.
    #[must_use]
    pub fn uses_disk(mut self, bytes: u64) -> Self {
        self.disk_usage = bytes;
        self
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Print { stderr, bytes } => {
                write!(f, "Print({stderr}, {:?})", String::from_utf8_lossy(bytes))
            }
            Step::Pause => f.write_str("Pause"),
            Step::OnInput(_) => f.write_str("OnInput"),
            Step::Exit(exit) => write!(f, "{exit:?}"),
            Step::Hang => f.write_str("Hang"),
        }
    }
}

/// Which containers or calls are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// All.
    Any,
    /// Containers of that name.
    Name(String),
    /// Pulls of that image, and containers from it.
    Image(String),
    /// Containers with that label.
    Label(String, String),
}

impl Target {
    /// Containers of that name.
    pub fn name(name: &str) -> Self {
        Self::Name(name.to_owned())
    }

    /// Pulls of that image, and containers from it.
    pub fn image(image: &str) -> Self {
        Self::Image(image.to_owned())
    }

    /// Containers with that label.
    pub fn label(key: &str, value: &str) -> Self {
        Self::Label(key.to_owned(), value.to_owned())
    }

    pub(super) fn matches(&self, facts: &Facts) -> bool {
        match self {
            Target::Any => true,
            Target::Image(image) => facts.image.as_ref() == Some(image),
            Target::Name(name) => facts.spec.as_ref().is_some_and(|spec| spec.name == *name),
            Target::Label(key, value) => {
                facts.spec.as_ref().is_some_and(|spec| spec.labels.get(key) == Some(value))
            }
        }
    }
}

/// What is known about the subject of a call.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) image: Option<String>,
    pub(super) spec: Option<ContainerSpec>,
}

/// A method of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum Operation {
    Info,
    Pull,
    Create,
    Attach,
    Start,
    Wait,
    Inspect,
    Stop,
    Remove,
    DiskUsage,
    List,
    Release,
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each is the method of that name with its arguments")]
pub enum Call {
    Info,
    Pull { image: String, policy: PullPolicy },
    Create { spec: Box<ContainerSpec> },
    Attach { id: ContainerId },
    Start { id: ContainerId },
    Wait { id: ContainerId },
    Inspect { id: ContainerId },
    Stop { id: ContainerId, grace: Duration },
    Remove { id: ContainerId },
    DiskUsage { id: ContainerId },
    List { owner: Owner },
    Release { owner: Owner },
}

impl Call {
    /// Which method it was.
    pub fn operation(&self) -> Operation {
        match self {
            Call::Info => Operation::Info,
            Call::Pull { .. } => Operation::Pull,
            Call::Create { .. } => Operation::Create,
            Call::Attach { .. } => Operation::Attach,
            Call::Start { .. } => Operation::Start,
            Call::Wait { .. } => Operation::Wait,
            Call::Inspect { .. } => Operation::Inspect,
            Call::Stop { .. } => Operation::Stop,
            Call::Remove { .. } => Operation::Remove,
            Call::DiskUsage { .. } => Operation::DiskUsage,
            Call::List { .. } => Operation::List,
            Call::Release { .. } => Operation::Release,
        }
    }

    /// The container it was for.
    pub fn container(&self) -> Option<&ContainerId> {
        match self {
            Call::Attach { id }
            | Call::Start { id }
            | Call::Wait { id }
            | Call::Inspect { id }
            | Call::Stop { id, .. }
            | Call::Remove { id }
            | Call::DiskUsage { id } => Some(id),
            Call::Info
            | Call::Pull { .. }
            | Call::Create { .. }
            | Call::List { .. }
            | Call::Release { .. } => None,
        }
    }
}
