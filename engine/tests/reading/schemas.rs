//! The committed schemas are those of the types. `REACTORCIDE_BLESS=1 cargo test -p reactorcide-engine --test
//! reading` writes them anew, and so does `reactorcide schema --out schemas`.

use std::fs;

use super::root;

#[test]
fn the_committed_schemas_are_those_of_the_types() {
    let directory = root().join("schemas");
    let bless = std::env::var_os("REACTORCIDE_BLESS").is_some();
    for (name, text) in reactorcide_engine::schema::files() {
        let path = directory.join(&name);
        if bless {
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(&path, &text).expect("a written schema");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "schemas/{name} is not that of the types; see this file's first lines");
    }
}
