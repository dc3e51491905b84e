//! A provider under test, what runs on it, and a guard that leaves nothing behind.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use reactorcide_engine::provider::{
    Attachment, ContainerId, ContainerSpec, Exit, Limits, NetworkMode, Owner, Provider, User,
};

/// How long anything may take on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// What the contract needs containers to do; each provider has its own way to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Prints `line 1` to `line N` and ends.
    Lines(u32),
    /// Prints `out` to standard output and `err` to standard error.
    BothStreams,
    /// Ends with this code.
    Exit(i64),
    /// Prints its input until that is closed, then ends.
    Echo,
    /// Runs until SIGTERM, then ends with 143.
    Sleep,
    /// Runs until SIGKILL.
    IgnoreTerm,
}

/// A provider, and how to make it run a program: what is `None` in the base specification is filled in.
pub struct Environment {
    pub provider: Arc<dyn Provider>,
    pub program: fn(Program, &mut ContainerSpec),
    /// Whether time passes.
    pub has_clock: bool,
    pub owner: Owner,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Environment {
    pub fn new(
        provider: Arc<dyn Provider>,
        program: fn(Program, &mut ContainerSpec),
        has_clock: bool,
    ) -> Self {
        let owner = Owner(format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        Self { provider, program, has_clock, owner }
    }

    pub fn spec(&self, name: &str, program: Program) -> ContainerSpec {
        let mut spec = ContainerSpec {
            name: format!("{}-{name}", self.owner.0),
            owner: self.owner.clone(),
            labels: BTreeMap::from([("reactorcide.job".to_owned(), name.to_owned())]),
            image: String::new(),
            entrypoint: None,
            command: None,
            environment: BTreeMap::new(),
            working_dir: None,
            user: User { uid: 1001, gid: 1001 },
            mounts: Vec::new(),
            tmpfs: Vec::new(),
            overlays: Vec::new(),
            limits: Limits::default(),
            network: NetworkMode::None,
            read_only: false,
            devices: Vec::new(),
            capabilities: Vec::new(),
            stdin: program == Program::Echo,
        };
        (self.program)(program, &mut spec);
        spec
    }

    /// Creates and starts; the attachment was made before the start.
    pub async fn started(&self, spec: &ContainerSpec) -> (ContainerId, Attachment) {
        let id = ok(self.provider.create(spec)).await;
        let attachment = ok(self.provider.attach(&id)).await;
        ok(self.provider.start(&id)).await;
        (id, attachment)
    }

    /// Runs to the end: how it ended and what it printed to standard output.
    pub async fn output(&self, spec: &ContainerSpec) -> (Exit, String) {
        let (id, attachment) = self.started(spec).await;
        let (text, _) = read(attachment).await;
        let exit = ok(self.provider.wait(&id)).await;
        ok(self.provider.remove(&id)).await;
        (exit, text)
    }

    /// Runs `check`, and removes whatever it left, also where it panics.
    pub async fn leaves_nothing<F>(self, check: impl FnOnce(Arc<Environment>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let environment = Arc::new(self);
        let result = tokio::spawn(check(environment.clone())).await;
        for left in ok(environment.provider.list(&environment.owner)).await {
            ok(environment.provider.remove(&left.id)).await;
        }
        ok(environment.provider.release(&environment.owner)).await;
        assert_eq!(ok(environment.provider.list(&environment.owner)).await, []);
        if let Err(error) = result {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// The value, within the deadline.
pub async fn ok<T, E: Debug>(future: impl Future<Output = Result<T, E>>) -> T {
    within(future).await.expect("succeeds")
}

/// The output, within the deadline.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("ends within the deadline")
}

/// Everything that a container printed: standard output and standard error.
pub async fn read(attachment: Attachment) -> (String, String) {
    // Kept open until all is read: the end of its input must not come from here.
    let Attachment { input: _input, mut output } = attachment;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(chunk) = within(output.next()).await {
        let chunk = chunk.expect("a chunk");
        if chunk.stderr { &mut err } else { &mut out }.extend(chunk.bytes);
    }
    (String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned())
}

/// Reads until the text has come.
pub async fn read_until(attachment: &mut Attachment, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let chunk =
            within(attachment.output.next()).await.unwrap_or_else(|| panic!("no {wanted:?} in {text:?}"));
        text.push_str(&String::from_utf8_lossy(&chunk.expect("a chunk").bytes));
    }
    text
}
