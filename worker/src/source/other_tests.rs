//! Mercurial and Subversion, with their own tools on this machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use reactorcide_engine::config::Source;
use serde_json::json;

use super::context::Context;
use super::error::SourceError;
use super::fetch::{Code, fetch};
use super::limits::Limits;

fn run(directory: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env("HGRCPATH", "/dev/null")
        .env("HGUSER", "t")
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

async fn code(context: &Context, source: serde_json::Value) -> Result<(String, String), SourceError> {
    let source: Source = serde_json::from_value(source).expect("a source");
    let Some(Code::Fetched { tree, version }) = fetch(&source, None, context, None).await? else {
        panic!("nothing")
    };
    Ok((fs::read_to_string(tree.path.join("file")).expect("a file"), version))
}

fn context(directory: &Path) -> Context {
    let mut context = Context::open(&directory.join("cache"), 1 << 30, Limits::default()).expect("a context");
    context.allow_local = true;
    context
}

#[tokio::test]
async fn mercurial_revisions_become_directories() {
    let directory = tempfile::tempdir().expect("a directory");
    let repo = directory.path().join("repo");
    fs::create_dir(&repo).expect("a directory");
    run(&repo, "hg", &["init"]);
    let commit = |content: &str| {
        fs::write(repo.join("file"), content).expect("a file");
        run(&repo, "hg", &["commit", "--quiet", "--addremove", "-m", content]);
        run(&repo, "hg", &["log", "-r", ".", "--template", "{node}"])
    };
    let first = commit("one");
    run(&repo, "hg", &["tag", "v1"]);
    run(&repo, "hg", &["branch", "--quiet", "feature"]);
    commit("two");
    let context = context(directory.path());
    let url = repo.display().to_string();
    assert_eq!(code(&context, json!({"hg": url})).await.expect("code").0, "one", "the default branch");
    assert_eq!(
        code(&context, json!({"hg": url, "ref": "v1"})).await.expect("code"),
        ("one".to_owned(), first.clone())
    );
    assert_eq!(code(&context, json!({"hg": url, "ref": "feature"})).await.expect("code").0, "two");
    commit("three");
    assert_eq!(
        code(&context, json!({"hg": url, "ref": "feature"})).await.expect("code").0,
        "three",
        "it is pulled"
    );
    let missing = code(&context, json!({"hg": url, "ref": "nope"})).await.expect_err("missing").explain();
    assert!(missing.contains("there is no revision nope"), "{missing}");
    for bad in ["--config=hooks.pre-clone=id", "x:y", "file('x')"] {
        let error = code(&context, json!({"hg": url, "ref": bad})).await.expect_err("refused");
        assert!(matches!(error, SourceError::Reference { .. }), "{error:?}");
    }
    let error = code(&context, json!({"hg": "--config=x"})).await.expect_err("refused");
    assert!(matches!(error, SourceError::Location { .. }), "{error:?}");
}

#[tokio::test]
async fn subversion_revisions_become_directories() {
    let directory = tempfile::tempdir().expect("a directory");
    let repo = directory.path().join("repo");
    let url = format!("file://{}", repo.display());
    run(directory.path(), "svnadmin", &["create", "repo"]);
    run(directory.path(), "svn", &["mkdir", "--quiet", "-m", "layout", &format!("{url}/trunk")]);
    run(directory.path(), "svn", &["checkout", "--quiet", &format!("{url}/trunk"), "work"]);
    let work = directory.path().join("work");
    let commit = |content: &str| {
        fs::write(work.join("file"), content).expect("a file");
        run(&work, "svn", &["add", "--quiet", "--force", "file"]);
        run(&work, "svn", &["commit", "--quiet", "-m", content]);
    };
    commit("one");
    commit("two");
    let context = context(directory.path());
    let trunk = format!("{url}/trunk");
    assert_eq!(
        code(&context, json!({"svn": trunk})).await.expect("code"),
        ("two".to_owned(), "3".to_owned())
    );
    assert_eq!(code(&context, json!({"svn": trunk, "ref": "r2"})).await.expect("code").0, "one");
    let missing = code(&context, json!({"svn": trunk, "ref": "99"})).await.expect_err("missing").explain();
    assert!(missing.contains("there is no revision 99"), "{missing}");
    let branch = code(&context, json!({"svn": trunk, "ref": "main"})).await.expect_err("no number").explain();
    assert!(branch.contains("a revision is a number"), "{branch}");
    let nowhere = code(&context, json!({"svn": format!("{url}/nope")})).await.expect_err("missing").explain();
    assert!(nowhere.contains("look at the address"), "{nowhere}");
}

#[tokio::test]
async fn what_a_run_may_not_have_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut context = context(directory.path());
    context.allow_local = false;
    for source in [
        json!({"copy": "/etc"}),
        json!({"git": "/etc"}),
        json!({"tarball": "file:///etc/passwd"}),
        json!({"git": "ext::id"}),
    ] {
        let source: Source = serde_json::from_value(source).expect("a source");
        assert!(fetch(&source, None, &context, None).await.is_err(), "{source:?}");
    }
    assert!(
        fetch(&Source { none: true, ..Source::default() }, None, &context, None)
            .await
            .expect("nothing")
            .is_none()
    );
}
