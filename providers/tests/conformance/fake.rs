//! The fake keeps the contract.

use std::sync::Arc;

use reactorcide_engine::provider::fake::{Behaviour, Fake, Step, Target};
use reactorcide_engine::provider::{ContainerSpec, Exit};

use crate::contract::contract;
use crate::environment::{Environment, Program};

const PROGRAMS: [Program; 10] = [
    Program::Lines(100_000),
    Program::BothStreams,
    Program::Exit(0),
    Program::Exit(1),
    Program::Exit(3),
    Program::Exit(42),
    Program::Exit(137),
    Program::Exit(255),
    Program::Sleep,
    Program::IgnoreTerm,
];

fn environment() -> Environment {
    let fake = Fake::new();
    for program in PROGRAMS {
        fake.script(Target::image(&format!("{program:?}")), behaviour(program));
    }
    fake.script(Target::image("Echo"), behaviour(Program::Echo));
    Environment::new(Arc::new(fake), program, false)
}

fn program(program: Program, spec: &mut ContainerSpec) {
    spec.image = format!("{program:?}");
}

fn behaviour(program: Program) -> Behaviour {
    match program {
        Program::Lines(count) => {
            (1..=count).fold(Behaviour::new(), |lines, number| lines.prints(format!("line {number}\n")))
        }
        Program::BothStreams => Behaviour::new().prints("out\n").prints_error("err\n"),
        Program::Exit(code) => Behaviour::new().exits(code),
        Program::Echo => Behaviour::new().on_input(|input, closed| echo(input, closed, 0)),
        Program::Sleep => Behaviour::new().prints("ready\n").hangs(),
        Program::IgnoreTerm => Behaviour::new().prints("ready\n").hangs().ignores_term(),
    }
}

/// Prints what is new, then reads on.
fn echo(input: &[u8], closed: bool, seen: usize) -> Option<Vec<Step>> {
    let new = &input[seen..];
    if new.is_empty() {
        return closed.then(|| vec![Step::Exit(Exit { code: 0, oom: false })]);
    }
    let seen = input.len();
    let print = Step::Print { stderr: false, bytes: new.to_vec() };
    Some(vec![print, Step::OnInput(Arc::new(move |input, closed| echo(input, closed, seen)))])
}

contract!(environment());
