//! Makes plans: reads both sides, narrows them to what was asked for, looks elsewhere, and remembers what changes nothing.

use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Catalog, Configuration, Kind, Spec};
use reactorcide_engine::outside::Observation;
use reactorcide_engine::plan::{self, Desired, Options, Plan};
use reactorcide_engine::read::Context;
use reactorcide_engine::store::{Change, Owner, Snapshot};

use reactorcide_server::api::MakePlan;

use super::PlanOptions;
use crate::client::Client;
use crate::commands::state::parse_address;
use crate::config_files::{Files, valid};
use crate::exit::{Exit, Failure};
use crate::plan_cache::{self, Key};
use crate::settings::Settings;
use crate::{applied, outside, time, workspace};

/// What the configuration and the applied state come to.
pub enum Made {
    /// The same was planned before, and changes nothing.
    Unchanged,
    /// A plan.
    Plan(Box<Plan>),
}

/// Makes the plan from the configuration and the applied state. Somebody who wants to see all of it must ask for it
/// `whole`.
pub fn make(
    options: &PlanOptions,
    secrets: &[String],
    settings: &Settings,
    whole: bool,
) -> Result<Made, Failure> {
    let as_of = date(options.as_of.as_deref())?;
    if Client::wanted(settings)?.is_none() {
        applied::location(settings)?;
    }
    let (targets, owner) = (targets(&options.targets)?, owner_of(options.project.as_deref()));
    let files = files(&owner, settings)?;
    if let (Some(project), true) = (&options.project, targets.is_empty())
        && let Some(plan) = of_server(options, project, &as_of, &files, settings)?
    {
        return Ok(Made::Plan(Box::new(plan)));
    }
    let whole = whole || !targets.is_empty() || owner != Owner::Workspace;
    let key = files.key();
    // What is wrong with the state is said after what is wrong with the configuration.
    let last = applied::block_on(workspace::last_change(settings)).ok().flatten();
    let known = key.as_ref().zip(last.as_ref()).filter(|_| !whole);
    if known.is_some_and(|(key, last)| plan_cache::is_known(settings, key, &last.id)) {
        return Ok(Made::Unchanged);
    }
    let Configured { resources, snapshot, is_quiet } = configured(files, &owner, settings)?;
    let resources = narrowed(resources, &snapshot, &targets, &owner)?;
    let observed = if options.no_refresh {
        Vec::new()
    } else {
        observe(&snapshot, &targets, secrets, &owner, settings)?
    };
    let has_objects = !snapshot.objects.is_empty();
    let desired = Desired { owner, resources };
    let mut options = Options { as_of, allow_destroy: options.allow_destroy, ..Options::default() };
    options.outside.observed = observed;
    let plan = plan::between(&desired, &snapshot, &options).map_err(|error| unreadable(&error))?;
    // Where there are objects elsewhere, the same files and state do not say what is to be done.
    if targets.is_empty() && is_quiet && !has_objects {
        remember(&plan, key.as_ref(), last.as_ref(), settings);
    }
    // They are large and the process is about to end: the system takes them back at once, and we would do it bit by bit.
    std::mem::forget((desired, snapshot));
    Ok(Made::Plan(Box::new(plan)))
}

/// Remembers a plan that changes nothing and says nothing else.
fn remember(plan: &Plan, key: Option<&Key>, last: Option<&Change>, settings: &Settings) {
    let says_nothing = !plan.has_changes() && plan.hints.is_empty() && plan.obstacles.is_empty();
    let last = last.filter(|last| says_nothing && last.serial == plan.base.serial);
    if let (Some(key), Some(last)) = (key, last) {
        plan_cache::remember(settings, key, &last.id);
    }
}

/// Looks at what is elsewhere, where there is anything of the workspace's.
fn observe(
    snapshot: &Snapshot,
    targets: &[Address],
    secrets: &[String],
    owner: &Owner,
    settings: &Settings,
) -> Result<Vec<Observation>, Failure> {
    if snapshot.objects.is_empty() || *owner != Owner::Workspace {
        return Ok(Vec::new());
    }
    applied::block_on(async {
        let workspace = workspace::open(settings).await?;
        outside::look(workspace.as_ref(), snapshot, targets, secrets).await
    })
}

/// The plan of a project's files where a server makes it: who may plan for one project may not see the others.
fn of_server(
    options: &PlanOptions,
    project: &str,
    as_of: &str,
    files: &Files,
    settings: &Settings,
) -> Result<Option<Plan>, Failure> {
    applied::block_on(async {
        let Some(server) = workspace::server(settings).await? else { return Ok(None) };
        let wanted = MakePlan {
            files: files.clone().into_texts()?.into_iter().collect(),
            project: Some(project.to_owned()),
            as_of: Some(as_of.to_owned()),
            allow_destroy: options.allow_destroy,
        };
        server.plan(&wanted).await.map(Some)
    })
}

fn date(as_of: Option<&str>) -> Result<String, Failure> {
    match as_of {
        Some(date) if time::is_date(date) => Ok(date.to_owned()),
        Some(other) => {
            Err(Failure::new(format!("{other:?} is not a date")).hint("write YYYY-MM-DD").exit(Exit::Usage))
        }
        None => Ok(today()),
    }
}

/// The addresses that somebody named.
fn targets(texts: &[String]) -> Result<Vec<Address>, Failure> {
    texts.iter().map(|target| parse_address(target)).collect()
}

/// The config set that a project's name, or none, stands for.
pub fn owner_of(project: Option<&str>) -> Owner {
    project.map_or(Owner::Workspace, |name| Owner::Project(name.to_owned()))
}

/// The files of a config set.
pub fn files(owner: &Owner, settings: &Settings) -> Result<Files, Failure> {
    let Owner::Project(name) = owner else { return Files::of(settings) };
    let project = Address::new(Kind::Project, None, name);
    let resource = applied::block_on(async {
        match workspace::open(settings).await? {
            Some(workspace) => workspace.resource(&project).await,
            None => Ok(None),
        }
    })?;
    let config = match resource.map(|resource| resource.spec) {
        Some(Spec::Project(spec)) => spec.config,
        _ => None,
    };
    match config {
        Some(config) => Files::of_project(settings, &config.path),
        None => Files::of(settings),
    }
}

/// What is declared, and what is applied.
pub struct Configured {
    /// What the files declare.
    pub resources: Catalog,
    /// What is applied.
    pub snapshot: Snapshot,
    /// Whether there was nothing to say about the files.
    pub is_quiet: bool,
}

/// Reads both sides.
pub fn configured(files: Files, owner: &Owner, settings: &Settings) -> Result<Configured, Failure> {
    let is_empty = files.is_empty();
    let mut is_quiet = true;
    // Both are read at the same time.
    let (parsed, snapshot) = std::thread::scope(|scope| {
        let snapshot = scope.spawn(|| applied::block_on(workspace::snapshot(settings)));
        let parsed = files.parse();
        (parsed, snapshot.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let given = snapshot.as_ref().ok().map(|snapshot| plan::given(snapshot, owner)).transpose();
    let given = given.map_err(|error| unreadable(&error))?.unwrap_or_default();
    let context = Context { given, owner: owner.clone() };
    let read = parsed.map(|parsed| parsed.in_context(context)).and_then(|reading| {
        is_quiet = reading.diagnostics.is_empty();
        valid(reading).map(Configuration::into_catalog)
    });
    let (resources, snapshot) = match (read, snapshot) {
        // Nothing is left of what was applied: a plan of deletes, which asks for more than a yes.
        (Err(_), Ok(snapshot)) if is_empty && !snapshot.heads.is_empty() => (Catalog::default(), snapshot),
        (read, snapshot) => (read?, snapshot?),
    };
    if let Owner::Project(name) = owner
        && !snapshot.heads.contains_key(&Address::new(Kind::Project, None, name))
    {
        return Err(Failure::new(format!("Project/{name} is not applied"))
            .hint("the workspace's configuration declares projects; apply that first"));
    }
    Ok(Configured { resources, snapshot, is_quiet })
}

/// Of what is declared only the targets and what they refer to, where there are any; the rest as it is applied.
fn narrowed(
    resources: Catalog,
    snapshot: &Snapshot,
    targets: &[Address],
    owner: &Owner,
) -> Result<Catalog, Failure> {
    if targets.is_empty() {
        return Ok(resources);
    }
    let applied = plan::applied(snapshot).map_err(|error| unreadable(&error))?;
    let mut part = plan::targeted(&resources, &applied, targets).map_err(|error| {
        Failure::new(error.to_string())
            .hint("`reactorcide state list` lists what is applied")
            .exit(Exit::Usage)
    })?;
    part.retain(|address, _| targets.contains(address) || is_of(snapshot, address, owner));
    Ok(part)
}

/// Whether a resource is not somebody else's.
fn is_of(snapshot: &Snapshot, address: &Address, owner: &Owner) -> bool {
    snapshot.heads.get(address).is_none_or(|head| head.owner == *owner)
}

/// What it means that a stored resource cannot be read.
pub fn unreadable(error: &plan::Error) -> Failure {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Failure::new(format!("{error}{source}")).hint("a newer version of reactorcide may have written it")
}

/// The date of a plan for which none is named.
pub fn today() -> String {
    time::date(time::now())
}

/// The plan towards resources that are worked out from what is applied.
pub fn towards(
    resources: impl FnOnce(&Snapshot) -> Result<Catalog, Failure>,
    options: &Options,
    settings: &Settings,
) -> Result<Plan, Failure> {
    let snapshot = applied::block_on(workspace::snapshot(settings))?;
    let mut resources = resources(&snapshot)?;
    resources.retain(|address, _| is_of(&snapshot, address, &Owner::Workspace));
    let desired = Desired { owner: Owner::Workspace, resources };
    plan::between(&desired, &snapshot, options).map_err(|error| unreadable(&error))
}
