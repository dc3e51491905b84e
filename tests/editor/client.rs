//! An editor, as far as the YAML language server can tell: it speaks the Language Server Protocol over pipes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// An editor that has opened a directory.
pub struct Editor {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    directory: PathBuf,
    settings: Value,
    last_id: u64,
    /// How many marks there were reports about, by file.
    marks: BTreeMap<String, Vec<Value>>,
}

impl Editor {
    pub fn open(directory: &Path) -> Self {
        let directory = directory.canonicalize().expect("a directory");
        let program = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../target/editor/node_modules/yaml-language-server/bin/yaml-language-server");
        assert!(program.exists(), "the YAML language server is there: ./dev setup");
        let mut child = Command::new("node")
            .arg(program)
            .arg("--stdio")
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is there: ./dev setup");
        let input = child.stdin.take().expect("its input");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let settings = std::fs::read_to_string(directory.join(".vscode/settings.json")).expect("settings");
        let settings: Value = serde_json::from_str(&settings).expect("JSON");
        let mut editor =
            Self { child, input, output, directory, settings, last_id: 0, marks: BTreeMap::new() };
        let root = editor.uri("");
        let capabilities = json!({
            "workspace": {"configuration": true, "workspaceFolders": true, "didChangeConfiguration": {}},
            "textDocument": {
                "hover": {"contentFormat": ["markdown"]},
                "completion": {"completionItem": {"snippetSupport": true}},
                "publishDiagnostics": {},
            },
        });
        editor.ask(
            "initialize",
            &json!({
                "processId": std::process::id(), "rootUri": root, "capabilities": capabilities,
                "workspaceFolders": [{"uri": root, "name": "test"}],
            }),
        );
        editor.tell("initialized", &json!({}));
        let settings = editor.section("yaml");
        editor.tell("workspace/didChangeConfiguration", &json!({"settings": {"yaml": settings}}));
        // It asks for the settings by itself, and looks at every open file again once it has them: before, it knows no
        // schema and sees no mistake.
        let mistake = ".reactorcide/mistake.yaml";
        editor.show(mistake, "kind: Nothing\n");
        while editor.diagnostics(mistake).is_empty() {}
        editor
    }

    /// The settings of an extension, as editors turn dotted keys into objects.
    fn section(&self, name: &str) -> Value {
        let mut section = json!({});
        for (key, value) in self.settings.as_object().expect("settings") {
            if let Some(key) = key.strip_prefix(&format!("{name}.")) {
                section[key] = value.clone();
            }
        }
        if name == "yaml" {
            // Nothing from the network takes part.
            section["schemaStore"] = json!({"enable": false});
        }
        section
    }

    fn uri(&self, path: &str) -> String {
        format!("file://{}", self.directory.join(path).display())
    }

    /// Opens a file with this text, which need not be on the disk.
    pub fn show(&mut self, path: &str, text: &str) {
        let document = json!({"uri": self.uri(path), "languageId": "yaml", "version": 1, "text": text});
        self.tell("textDocument/didOpen", &json!({"textDocument": document}));
    }

    /// What is offered at a position.
    pub fn completion(&mut self, path: &str, position: &Value) -> Vec<String> {
        let answer = self.ask("textDocument/completion", &self.at(path, position));
        let items = answer["items"].as_array().or_else(|| answer.as_array()).cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["label"].as_str().map(str::to_owned)).collect()
    }

    /// What is told about what stands at a position.
    pub fn hover(&mut self, path: &str, position: &Value) -> String {
        let answer = self.ask("textDocument/hover", &self.at(path, position));
        answer["contents"]["value"].as_str().unwrap_or_default().to_owned()
    }

    /// The marks in a file, once the server has said what there is to say about it.
    pub fn diagnostics(&mut self, path: &str) -> Vec<Value> {
        let uri = self.uri(path);
        loop {
            if let Some(marks) = self.marks.remove(&uri) {
                return marks;
            }
            self.read();
        }
    }

    fn at(&self, path: &str, position: &Value) -> Value {
        json!({"textDocument": {"uri": self.uri(path)}, "position": position})
    }

    fn tell(&mut self, method: &str, parameters: &Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": parameters}));
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters}));
        loop {
            let message = self.read();
            if message["id"] == id && message.get("method").is_none() {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        write!(self.input, "Content-Length: {}\r\n\r\n{text}", text.len()).expect("it reads");
        self.input.flush().expect("it reads");
    }

    /// Reads a message, and answers it where it is a question.
    fn read(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("it answers") > 0, "it has ended");
            match line.trim_end().split_once(": ") {
                Some(("Content-Length", value)) => length = value.parse().expect("a number"),
                Some(_) => {}
                None => break,
            }
        }
        let mut bytes = vec![0; length];
        self.output.read_exact(&mut bytes).expect("a whole message");
        let message: Value = serde_json::from_slice(&bytes).expect("JSON");
        match message["method"].as_str() {
            Some("textDocument/publishDiagnostics") => {
                let uri = message["params"]["uri"].as_str().expect("a file").to_owned();
                let marks = message["params"]["diagnostics"].as_array().cloned().unwrap_or_default();
                self.marks.insert(uri, marks);
            }
            Some(method) if message.get("id").is_some() => {
                let result = self.answer(method, &message["params"]);
                self.send(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
            }
            _ => {}
        }
        message
    }

    fn answer(&self, method: &str, parameters: &Value) -> Value {
        match method {
            "workspace/configuration" => {
                let items = parameters["items"].as_array().cloned().unwrap_or_default();
                items.iter().map(|item| self.section(item["section"].as_str().unwrap_or_default())).collect()
            }
            "workspace/workspaceFolders" => json!([{"uri": self.uri(""), "name": "test"}]),
            _ => Value::Null,
        }
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
