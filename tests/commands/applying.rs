//! Plans and what becomes of them: asked and unasked, one after another, refused, and interrupted.

use rstest::rstest;

use crate::docker::{Place, Project};
use crate::terminal::{CTRL_C, Terminal};
use crate::transcript::Transcript;

const PROJECT: &str = "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\nspec: {}\n";

fn project() -> Project {
    Project::with_files(&[(".reactorcide/project.yaml", PROJECT)])
}

fn pipeline(name: &str, command: &str) -> String {
    format!(
        "apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: {name}, project: web}}\nspec:\n  jobs:\n    build:\n      \
         image: debian:12\n      command: |\n        {}\n",
        command.replace('\n', "\n        ")
    )
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn a_life_of_changes(#[case] place: Place) {
    let project = project().at(place);
    let mut session = Transcript::of(&project);
    session.write(".reactorcide/ci.yaml", &pipeline("ci", "make\nmake check\nmake install"));
    session.run("apply").run("apply --auto-approve").run("plan --detailed-exitcode");
    session.write(".reactorcide/ci.yaml", &pipeline("ci", "make\nmake all-checks\nmake install"));
    session.run("plan --detailed-exitcode").run("apply --auto-approve");
    session.remark("the pipeline gets another name");
    session.write(".reactorcide/ci.yaml", &pipeline("checks", "make\nmake all-checks\nmake install"));
    session.run("plan");
    let renamed = pipeline("checks, renamed_from: ci", "make\nmake all-checks\nmake install");
    session.write(".reactorcide/ci.yaml", &renamed);
    session.run("plan").run("apply --auto-approve").run("plan").run("history Pipeline/web/checks");
    session.remark("the file of the pipeline is removed");
    std::fs::remove_file(project.path().join(".reactorcide/ci.yaml")).expect("the file");
    session.run("plan").run("apply --auto-approve").run("state list").run("history");
    session.compare("a_life_of_changes");
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn what_protects_itself_is_not_deleted(#[case] place: Place) {
    let project = project().at(place);
    let mut session = Transcript::of(&project);
    let kept = "apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {name: deploy, deletion_policy: protect}\nspec: {source: vault, keys: [token]}\n";
    session.write(".reactorcide/secret.yaml", kept).run("apply --auto-approve");
    std::fs::remove_file(project.path().join(".reactorcide/secret.yaml")).expect("the file");
    session.remark("secret.yaml is removed").run("plan").run("apply --auto-approve --allow-destroy");
    session.write(".reactorcide/secret.yaml", &kept.replace("protect", "allow")).run("apply --auto-approve");
    std::fs::remove_file(project.path().join(".reactorcide/secret.yaml")).expect("the file");
    session.remark("secret.yaml is removed").run("apply --auto-approve");
    session.compare("what_protects_itself_is_not_deleted");
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn many_deletes_are_asked_for(#[case] place: Place) {
    let project = project().at(place);
    let many: Vec<String> = (0..8).map(|number| pipeline(&format!("p{number}"), "make")).collect();
    let mut session = Transcript::of(&project);
    session.write(".reactorcide/many.yaml", &many.join("---\n")).run("apply --auto-approve");
    session.write(".reactorcide/many.yaml", &many[..2].join("---\n"));
    session.run("plan").run("apply --auto-approve").run("apply --auto-approve --allow-destroy");
    session.remark("every document is removed");
    std::fs::remove_file(project.path().join(".reactorcide/many.yaml")).expect("the file");
    std::fs::remove_file(project.path().join(".reactorcide/project.yaml")).expect("the file");
    session.run("plan").run("apply --auto-approve").run("apply --auto-approve --allow-destroy").run("show");
    session.compare("many_deletes_are_asked_for");
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn who_can_reach_a_secret_comes_first(#[case] place: Place) {
    let project = project().at(place);
    let mut session = Transcript::of(&project);
    let jobs = "apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {name: deploy}\nspec: {source: vault, keys: [token]}\n---\n\
                apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: ci, project: web}\nspec:\n  triggers:\n    \
                - {event: push, branches: [main]}\n    - {event: pull_request}\n  jobs:\n    ship: {image: debian:12, \
                command: ./ship, secrets: {KEY: 'deploy:token'}}\n";
    let policy = |origins: &str, events: &str| {
        format!(
            "apiVersion: reactorcide/v1\nkind: SecretPolicy\nmetadata: {{name: deploy}}\nspec:\n  allow:\n    - secrets: [deploy]\n      \
             to: {{project: web}}\n      when: {{events: [{events}], origins: [{origins}]}}\n"
        )
    };
    let trust = "apiVersion: reactorcide/v1\nkind: TrustPolicy\nmetadata: {name: people}\nspec: {projects: ['*'], \
                 rules: [{events: [pull_request], action: require_approval}]}\n";
    session.write(".reactorcide/trust.yaml", trust);
    session.write(".reactorcide/jobs.yaml", jobs).run("apply --auto-approve --accept-findings");
    session
        .write(".reactorcide/policy.yaml", &policy("base", "push"))
        .run("plan")
        .run("apply --auto-approve --accept-findings");
    session.write(".reactorcide/policy.yaml", &policy("base, head, fork", "push, pull_request"));
    session.run("plan").run("plan --json").run("apply --auto-approve");
    session.remark("somebody writes down why, and until when");
    let accepted = |text: String| {
        let accept = "{name: deploy, accept: [{finding: RX102, reason: another, until: '2030-01-01'}]}";
        text.replacen("{name: deploy}", accept, 1)
    };
    session.write(".reactorcide/policy.yaml", &accepted(policy("base, head", "push, pull_request")));
    session.run("plan");
    let jobs = jobs.replace(
        "{name: ci, project: web}",
        "{name: ci, project: web, accept: [{finding: RX101, reason: 'trusted team, private repository', until: '2030-01-01'}]}",
    );
    session
        .write(".reactorcide/jobs.yaml", &jobs)
        .run("plan --as-of 2029-12-31")
        .run("plan --as-of 2030-01-02");
    session.run("apply --auto-approve --as-of 2030-01-02").run("apply --auto-approve --as-of 2030-01-01");
    session.compare("who_can_reach_a_secret");
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn a_plan_that_was_reviewed_is_the_one_that_is_applied(#[case] place: Place) {
    let project = project().at(place);
    let fingerprint = {
        let plan = project.execute(&["plan", "--json"]);
        let plan: serde_json::Value = serde_json::from_str(&plan.stdout).expect("JSON");
        plan["fingerprint"].as_str().expect("a fingerprint").to_owned()
    };
    let mut session = Transcript::of(&project);
    session.write(".reactorcide/ci.yaml", &pipeline("ci", "make"));
    session.run(&format!("apply --auto-approve --expect-plan {fingerprint}")).run("state list");
    std::fs::remove_file(project.path().join(".reactorcide/ci.yaml")).expect("the file");
    session.remark("ci.yaml is removed");
    session.run(&format!("apply --auto-approve --expect-plan {fingerprint}")).run("state list");
    session.compare("a_plan_that_was_reviewed");
}

#[test]
fn only_yes_is_yes() {
    for (name, keys) in
        [("y", "y\n"), ("no", "no\n"), ("capitals", "YES\n"), ("end", "\x04"), ("ctrl_c", CTRL_C)]
    {
        let project = project();
        let mut terminal = Terminal::start(&project, "apply", 80);
        terminal.until("Only \"yes\" is accepted: ").keys(keys);
        let ended = terminal.end();
        Transcript::of(&project)
            .append(&format!("reactorcide apply    # {name}"), &ended)
            .compare(&format!("asked_{name}"));
        assert!(!project.path().join(".reactorcide-state").exists(), "{name}: nothing was written");
    }
    let project = project();
    let mut terminal = Terminal::start(&project, "apply", 80);
    terminal.until("Only \"yes\" is accepted: ").keys("yes\n");
    let ended = terminal.end();
    Transcript::of(&project).append("reactorcide apply    # yes", &ended).run("apply").compare("asked_yes");
}

#[test]
fn colours_only_on_a_terminal_and_as_asked() {
    let project = project();
    let mut session = Transcript::of(&project);
    session.append("reactorcide plan    # on a terminal", &Terminal::start(&project, "plan", 80).end());
    session.run("plan").run("plan --color always").run("validate --color always");
    session.append(
        "reactorcide plan --color never    # on a terminal",
        &Terminal::start(&project, "plan --color never", 80).end(),
    );
    session.compare("colours");
    for (variable, coloured) in [("NO_COLOR", false), ("CLICOLOR_FORCE", true)] {
        let output = project.command(&["plan"]).env(variable, "1").output().expect("the binary");
        assert_eq!(output.stdout.contains(&0x1b), coloured, "{variable}");
    }
}

#[test]
fn a_plan_that_is_remembered_is_never_an_old_one() {
    let project = project();
    let changes = |arguments: &[&str]| {
        let mut all = vec!["plan", "--detailed-exitcode"];
        all.extend(arguments);
        project.execute(&all).code
    };
    let cache = project.path().join(".reactorcide-state/plans-without-changes");
    assert_eq!(project.execute(&["apply", "--auto-approve"]).code, Some(0));
    assert_eq!(changes(&[]), Some(0));
    let remembered = std::fs::read_to_string(&cache).expect("the plan is remembered");
    assert_eq!(changes(&[]), Some(0));
    assert_eq!(
        std::fs::read_to_string(&cache).expect("the cache"),
        remembered,
        "the second plan was not made"
    );

    // Other files, another name of a file, another state, and the first of all again.
    project.write(".reactorcide/ci.yaml", &pipeline("ci", "make"));
    assert_eq!(changes(&[]), Some(2));
    assert_eq!(project.execute(&["apply", "--auto-approve"]).code, Some(0));
    assert_eq!(changes(&[]), Some(0));
    std::fs::remove_file(project.path().join(".reactorcide/ci.yaml")).expect("the file");
    assert_eq!(changes(&[]), Some(2), "these files were applied once, but not last");

    // A damaged cache costs time and nothing else.
    std::fs::write(&cache, [0xff, 0, b'\n']).expect("the cache");
    assert_eq!(changes(&[]), Some(2));
    assert_eq!(project.execute(&["apply", "--auto-approve"]).code, Some(0));
    assert_eq!(changes(&[]), Some(0));
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn a_saved_plan_is_shown_and_applied_as_it_is_or_not_at_all(#[case] place: Place) {
    let project = project().at(place);
    let mut session = Transcript::of(&project);
    session.write(".reactorcide/ci.yaml", &pipeline("ci", "make"));
    session.run("plan --out p.rcplan --markdown plan.md --json-into plan.json");
    let markdown = std::fs::read_to_string(project.path().join("plan.md")).expect("Markdown");
    assert_eq!(project.execute(&["show", "p.rcplan", "--markdown"]).stdout, markdown);
    let json = std::fs::read_to_string(project.path().join("plan.json")).expect("JSON");
    assert_eq!(project.execute(&["show", "p.rcplan", "--json"]).stdout, json);
    session.run("show p.rcplan").run("show p.rcplan --markdown");
    session.write(".reactorcide/ci.yaml", &pipeline("ci", "make something else"));
    session.remark("what was saved is applied, not what the files say by now");
    session.run("apply p.rcplan").run("show Pipeline/web/ci").run("apply p.rcplan");
    session.remark("another plan, and somebody else changes the same in between");
    session.run("plan --out q.rcplan");
    session.write(".reactorcide/ci.yaml", &pipeline("ci", "make it otherwise")).run("apply --auto-approve");
    session.run("apply q.rcplan");
    session.remark("a change elsewhere does not make a plan stale");
    session.write(".reactorcide/ci.yaml", &pipeline("ci", "make again")).run("plan --out r.rcplan");
    session.write(".reactorcide/ci.yaml", &pipeline("ci", "make it otherwise"));
    session.write(".reactorcide/other.yaml", &pipeline("other", "make")).run("apply --auto-approve");
    session.run("apply r.rcplan").run("state list");
    session.remark("files that are no plan");
    session.write("letter.rcplan", "Dear friend,\n").run("show letter.rcplan").run("apply letter.rcplan");
    session.run("apply nowhere.rcplan").run("plan --out no/such/directory/p.rcplan");
    session.compare("a_saved_plan");
}

#[test]
fn a_pull_request_to_a_company_as_a_comment() {
    let project = Project::copy_of("examples/company");
    assert_eq!(project.execute(&["apply", "--auto-approve", "--accept-findings"]).code, Some(0));
    let change = Project::copy_of("examples/company-change");
    let state = format!("sqlite:{}/.reactorcide-state/state.db", project.path().display());
    let config = change.path().to_string_lossy();
    let arguments =
        ["plan", "--config", &config, "--state", &state, "--markdown", "plan.md", "--as-of", "2026-11-21"];
    assert_eq!(project.execute(&arguments).code, Some(0));
    let comment = std::fs::read_to_string(project.path().join("plan.md")).expect("the comment");
    let committed =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/company-change/plan.md");
    // The fingerprint holds the lineage of the state, which is new each time.
    let settled = regex_lite::Regex::new("`[0-9a-f]{64}`").expect("a pattern").replace(&comment, "`…`");
    snapbox::Assert::new().action_env(snapbox::assert::DEFAULT_ACTION_ENV).eq(
        snapbox::Data::text(settled.into_owned()).raw(),
        snapbox::Data::read_from(&committed, Some(snapbox::data::DataFormat::Text)).raw(),
    );
}
