//! A graph as text for other programs: DOT for Graphviz, Mermaid for Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

/// The language to draw in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
}

/// Draws boxes and arrows. Labels are data: whatever they hold, they cannot become part of the drawing's syntax.
pub fn render(format: Format, nodes: &[String], edges: &[(String, String)]) -> String {
    let ids: BTreeMap<&String, usize> = nodes.iter().enumerate().map(|(index, node)| (node, index)).collect();
    let mut text = String::from(match format {
        Format::Dot => "digraph reactorcide {\n  rankdir = LR;\n  node [shape = box];\n",
        Format::Mermaid => "flowchart LR\n",
    });
    let line = |text: &mut String, line: String| writeln!(text, "  {line}").expect("writing to a String");
    for node in nodes {
        let id = ids[node];
        line(
            &mut text,
            match format {
                Format::Dot => format!("n{id} [label = \"{}\"];", escape_dot(node)),
                Format::Mermaid => format!("n{id}[\"{}\"]", escape_mermaid(node)),
            },
        );
    }
    for (from, to) in edges {
        let (Some(from), Some(to)) = (ids.get(from), ids.get(to)) else { continue };
        line(
            &mut text,
            match format {
                Format::Dot => format!("n{from} -> n{to};"),
                Format::Mermaid => format!("n{from} --> n{to}"),
            },
        );
    }
    if format == Format::Dot {
        text.push_str("}\n");
    }
    text
}

fn escape_dot(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn escape_mermaid(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' | '#' | '<' | '>' | '&' | '`' => format!("#{};", c as u32),
            '\n' => " ".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_leave_its_box() {
        let nodes = ["a\"]; x".to_owned(), "b".to_owned()];
        let edges = [(nodes[0].clone(), nodes[1].clone())];
        let dot = render(Format::Dot, &nodes, &edges);
        assert!(dot.contains(r#"n0 [label = "a\"]; x"];"#), "{dot}");
        let mermaid = render(Format::Mermaid, &nodes, &edges);
        assert!(mermaid.contains("n0[\"a#34;]; x\"]"), "{mermaid}");
        assert!(mermaid.contains("n0 --> n1"), "{mermaid}");
    }
}
