//! Matrices: that what is left out and added speaks of axes and values that there are.

use super::JobSite;
use crate::diagnostic::Diagnostic;
use crate::diff::join;
use crate::placeholder;
use crate::suggest::nearest;
use crate::workflow::text_of;

pub fn check(site: &JobSite<'_>, found: &mut Vec<Diagnostic>) {
    let Some(matrix) = &site.job.matrix else { return };
    for (axis, values) in &matrix.axes {
        for (index, value) in values.iter().enumerate() {
            if values[..index].contains(value) {
                let at = site.span(&format!("{}/{index}", join("matrix/axes", axis)));
                let message = format!("the value {} stands twice on this axis", text_of(value));
                found.push(Diagnostic::error("RC1033", message).at(at).hint("remove one of the two"));
            }
        }
    }
    for (list, combinations) in [("exclude", &matrix.exclude), ("include", &matrix.include)] {
        for (index, combination) in combinations.iter().enumerate() {
            let pointer = format!("matrix/{list}/{index}");
            for (axis, value) in combination {
                let at = || site.span(&join(&pointer, axis));
                let Some(values) = matrix.axes.get(axis) else {
                    let diagnostic =
                        Diagnostic::error("RC1044", format!("there is no axis {axis:?} in this matrix"))
                            .at(at());
                    let names = || matrix.axes.keys().map(String::as_str);
                    found.push(match nearest(axis, names()) {
                        Some(name) => diagnostic.hint(format!("did you mean {name}?")),
                        None => diagnostic
                            .hint(format!("the axes are {}", names().collect::<Vec<_>>().join(", "))),
                    });
                    continue;
                };
                // What a template's parameter will say is not known yet.
                let is_open = values
                    .iter()
                    .chain([value])
                    .any(|value| value.as_str().is_some_and(|text| !placeholder::find(text).is_empty()));
                if list == "exclude" && !values.contains(value) && !is_open {
                    let message = format!(
                        "{} is no value of the axis {axis:?}: this leaves nothing out",
                        text_of(value)
                    );
                    let known: Vec<String> = values.iter().map(text_of).collect();
                    let hint = format!("its values are {}", known.join(", "));
                    found.push(Diagnostic::error("RC1044", message).at(at()).hint(hint));
                }
            }
            if list == "include"
                && let Some(axis) = matrix.axes.keys().find(|axis| !combination.contains_key(*axis))
            {
                let message = format!("an included combination names every axis, and {axis} is missing");
                let diagnostic = Diagnostic::error("RC1044", message).at(site.span(&pointer));
                found.push(diagnostic.hint(format!("add `{axis}:`")));
            }
        }
    }
}
