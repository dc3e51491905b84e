//! The commands over applied state against a server: the same output and exit codes as on a state of one's own, and what
//! applies owe elsewhere carried out by the server.

use rstest::rstest;
use serde_json::json;

use crate::docker::{Ended, Place, eventually};
use crate::elsewhere::{TOKEN, Target, targets, value};
use crate::server::harness::{BUSYBOX, Serving, Site};

fn jobs() -> String {
    format!("    a: {{image: '{BUSYBOX}', command: 'echo a'}}\n")
}

/// The site with one more file of configuration.
fn declare(site: &Site, text: &str) {
    site.project.write(".reactorcide/more.yaml", text);
}

fn project(name: &str, weight: u32) -> String {
    format!(
        "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: {name}}}\nspec: {{weight: {weight}}}\n"
    )
}

fn ends(ended: &Ended, code: i32, words: &str) {
    assert!(ended.code == Some(code) && ended.stderr.contains(words), "{code} {words:?}: {ended:?}");
}

/// What a command says on a server and on the state beneath it is one and the same.
fn both(site: &Site, server: &Serving, arguments: &[&str]) {
    let (here, there) = (site.project.execute(arguments), site.ask(server, arguments));
    assert_eq!((there.code, &there.stdout), (here.code, &here.stdout), "{arguments:?}: {}", there.stderr);
    assert!(there.stderr.contains(&format!("against {} as user:admin", server.url)), "{there:?}");
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn the_same_commands_change_what_a_server_holds(#[case] place: Place) {
    let mut site = Site::new(&jobs(), place);
    let server = site.server(&[]);
    ends(&site.ask(&server, &["plan", "--detailed-exitcode"]), 0, "against http://");
    declare(&site, &project("more", 2));
    both(&site, &server, &["plan", "--detailed-exitcode"]);
    both(&site, &server, &["plan", "--json"]);
    both(&site, &server, &["plan", "--target", "Project/more"]);
    ends(&site.ask(&server, &["plan", "--secret", "a=env:A"]), 0, "against");
    ends(&site.ask(&server, &["apply", "--secret", "a=env:A"]), 64, "--secret is for state on this machine");

    // Nobody is asked, so nothing is applied; what was reviewed is.
    ends(&site.ask(&server, &["apply"]), 1, "there is no terminal to ask on");
    ends(&site.ask(&server, &["apply", "--expect-plan", "x", "--auto-approve"]), 3, "not the expected x");
    site.say(&server, &["plan", "--out", "one.rcplan"]);
    declare(&site, &project("more", 3));
    site.say(&server, &["plan", "--out", "other.rcplan"]);
    let applied = site.say(&server, &["apply", "one.rcplan", "--message", "why not"]);
    assert!(applied.contains("1 created, 0 updated, 0 deleted."), "{applied}");
    ends(&site.ask(&server, &["apply", "one.rcplan"]), 3, "was applied already, as change 2");
    let stale = site.ask(&server, &["apply", "other.rcplan"]);
    ends(&stale, 3, "the plan is stale: Project/more changed since it was made");
    assert!(stale.stdout.contains("Project/more"), "{stale:?}");
    // Something else moves, which does not matter to a plan.
    site.say(&server, &["plan", "--out", "third.rcplan"]);
    let pipeline =
        std::fs::read_to_string(site.project.path().join(".reactorcide/more.yaml")).expect("it is there");
    declare(&site, &format!("{}---\n{}", project("more", 2), project("beside", 1)));
    site.say(&server, &["apply", "--auto-approve"]);
    declare(&site, &pipeline);
    site.say(&server, &["apply", "third.rcplan"]);

    for arguments in [
        &["history"][..],
        &["history", "Project/more", "--json"],
        &["show"],
        &["show", "Project/more", "--revision", "1"],
        &["state", "list"],
        &["state", "show", "Project/more", "--json"],
        &["state", "export"],
        &["diff", "1..3"],
        &["diff", "0..2", "--json"],
        &["diff", "9..1"],
        &["drift"],
        &["reach"],
    ] {
        both(&site, &server, arguments);
    }
    let history = site.say(&server, &["history"]);
    assert!(history.contains("user:admin") && history.contains("why not"), "{history}");
    ends(&site.ask(&server, &["show", "Project/mroe"]), 1, "did you mean Project/more?");
    let back = site.say(&server, &["rollback", "--to", "2", "--auto-approve", "--allow-destroy"]);
    assert!(back.contains("1 updated, 1 deleted") || back.contains("1 deleted"), "{back}");

    // Nothing left, and what is protected.
    site.project.write("empty/none.yaml", "");
    let none = ["apply", "--config", "empty", "--auto-approve"];
    assert_eq!(site.ask(&server, &none).code, site.project.execute(&none).code);
    ends(&site.ask(&server, &["state", "compact", "--keep", "1"]), 64, "works on the state itself");
}

#[test]
fn findings_and_rights_are_the_servers_to_decide() {
    let mut site = Site::new(&jobs(), Place::Sqlite);
    let server = site.server(&[]);
    let open = "apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {name: key}\nspec: {source: env, location: KEY}\n---\n\
                apiVersion: reactorcide/v1\nkind: SecretPolicy\nmetadata: {name: open}\nspec: {allow: [{secrets: [key], to: {project: p}}]}\n---\n\
                apiVersion: reactorcide/v1\nkind: RoleBinding\nmetadata: {name: read}\nspec: {role: read, subjects: ['user:ada']}\n---\n\
                apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: more, project: p}\nspec: {triggers: [{event: push}], jobs: {a: {image: i, command: c, secrets: {KEY: key}}}}\n";
    declare(&site, open);
    ends(&site.ask(&server, &["apply", "--auto-approve"]), 5, "not accepted");
    site.say(&server, &["apply", "--auto-approve", "--accept-findings"]);
    both(&site, &server, &["reach"]);
    site.project
        .write("event.json", r#"{"project": "p", "type": "push", "branch": "main", "origin": "base"}"#);
    both(&site, &server, &["explain", "event.json"]);

    site.say(&server, &["users", "create", "ada"]);
    let token = site.say(&server, &["tokens", "create", "--owner", "user:ada"]).trim().to_owned();
    declare(&site, &open.replace("weight", "w").replace("event: push", "event: tag"));
    let planned = site.ask_as(&server, &token, &["plan", "--detailed-exitcode", "--out", "ada.rcplan"]);
    ends(&planned, 2, "as user:ada");
    let refused = site.ask_as(&server, &token, &["apply", "ada.rcplan"]);
    assert!(refused.code == Some(1) && !refused.stdout.contains("Applied"), "{refused:?}");
    let history = site.say(&server, &["history", "--json"]);
    assert!(!history.contains("user:ada"), "{history}");
    // A plan that somebody changed is not believed, though its file is whole.
    ends(&site.ask_as(&server, "rct_nonsense", &["state", "list"]), 1, "no token");
}

#[test]
fn it_is_never_unclear_which_place_is_meant() {
    let mut site = Site::new(&jobs(), Place::Sqlite);
    let server = site.server(&[]);
    let token = site.token.clone();
    let with_both = |arguments: &[&str]| {
        let mut command = site.project.command(arguments);
        command.env("REACTORCIDE_SERVER", &server.url).env("REACTORCIDE_TOKEN", &token);
        crate::docker::ended(command.output().expect("it starts"))
    };
    ends(&with_both(&["state", "list"]), 64, "a state and a server are both named");
    ends(&with_both(&["state", "list", "--server", &server.url]), 0, "against");
    let state = with_both(&["state", "list", "--state", "local"]);
    assert!(state.code == Some(0) && !state.stderr.contains("against"), "{state:?}");
    // The server of a login counts last.
    let path = site.project.path().join("token");
    std::fs::write(&path, &token).expect("a file");
    let login = site.project.execute(&["login", &server.url, "--token-file", "token"]);
    ends(&login, 0, "commands ask");
    let named = site.project.execute(&["state", "list"]);
    assert!(named.code == Some(0) && !named.stderr.contains("against"), "{named:?}");
    let mut command = site.project.command(&["state", "list"]);
    let logged_in =
        crate::docker::ended(command.env_remove("REACTORCIDE_STATE").output().expect("it starts"));
    ends(&logged_in, 0, "against");
}

#[test]
fn what_applies_owe_elsewhere_is_carried_out_by_the_server() {
    let target = Target::start();
    let url = format!("{}/hooks", target.url());
    let mut site = Site::new(&jobs(), Place::Sqlite);
    site.project.write("hooks.token", TOKEN);
    let server = site.server(&["--secret", "hooks/token=file:hooks.token"]);
    let one = |number| targets(&url, &[("deploys", value(number), "")]);
    declare(&site, &one(1));
    let applied = site.say(&server, &["apply", "--auto-approve"]);
    assert!(applied.contains("  made ") && applied.contains("(WebhookTarget/deploys)"), "{applied}");
    let (path, _) = target.only();
    assert_eq!(site.say(&server, &["drift"]), "No drift: 1 object is elsewhere as applied.\n");

    // Somebody changes it there.
    target.tamper(&path, Some(json!({"value": 9})));
    assert_eq!(site.ask(&server, &["drift", "--detailed-exitcode"]).code, Some(2));
    let healed = site.say(&server, &["apply", "--auto-approve"]);
    assert!(healed.contains("  replaced "), "{healed}");
    assert_eq!(target.only().1["value"], 1);

    // What fails is said; the server goes on with it.
    target.rule(json!({"method": "PUT", "number": 1, "action": "fail", "always": true}));
    declare(&site, &one(2));
    let failed = site.ask(&server, &["apply", "--auto-approve"]);
    ends(&failed, 1, "the change is applied, but 1 of 1 effect elsewhere could not be carried out");
    ends(&site.ask(&server, &["apply", "--auto-approve"]), 1, "could not be carried out");
    assert!(site.say(&server, &["drift"]).contains("is owed still"));
    target.rule(json!(null));
    let resumed = site.say(&server, &["apply", "--auto-approve"]);
    assert!(resumed.contains("  replaced "), "{resumed}");

    // A server that is killed over it leaves it to the next, which needs nobody to say so.
    target.rule(json!({"method": "PUT", "number": 1, "action": "fail", "always": true}));
    declare(&site, &one(3));
    assert_eq!(site.ask(&server, &["apply", "--auto-approve"]).code, Some(1));
    server.process.kill();
    target.rule(json!(null));
    let server = site.server(&["--secret", "hooks/token=file:hooks.token"]);
    eventually("the new server carries it out", || target.only().1["value"] == 3);
    eventually("nothing is owed", || !site.say(&server, &["drift"]).contains("owed"));
    assert!(!site.say(&server, &["state", "export"]).contains(TOKEN));
}
