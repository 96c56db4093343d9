//! Long histories of the engine in its simulated world: `--steps N --seed S`.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it is a program for people: it prints what it found and how fast"
)]

use std::process::ExitCode;
use std::time::Instant;

use aether::engine::sim::{Action, Random, World};
use clap::Parser;

/// Runs random histories of the engine and holds it against its laws.
#[derive(Debug, Parser)]
struct Arguments {
    /// Events in all.
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
    /// Where to begin; each history has a seed of its own, counted on from here.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Actions in one history.
    #[arg(long, default_value_t = 400)]
    actions: u32,
    /// Print every action of the histories.
    #[arg(long)]
    show: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let began = Instant::now();
    let (mut steps, mut seed) = (0_u64, arguments.seed);
    while steps < arguments.steps {
        let world = history(seed, arguments.actions, arguments.show);
        steps += world.steps();
        if !world.broken().is_empty() {
            println!("seed {seed}: {} laws broken", world.broken().len());
            for (law, text) in world.broken() {
                println!("  {law}: {text}");
            }
            println!(
                "again: simulate --seed {seed} --steps 1 --actions {} --show",
                arguments.actions
            );
            return ExitCode::FAILURE;
        }
        seed += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate for people needs no more than 52 bits"
    )]
    let rate = steps as f64 / seconds;
    println!(
        "{steps} steps in {} histories from seed {}, no law broken; {seconds:.1} s, {rate:.0} steps/s",
        seed - arguments.seed,
        arguments.seed
    );
    ExitCode::SUCCESS
}

fn history(seed: u64, actions: u32, show: bool) -> World {
    let mut world = World::new(seed);
    let mut luck = Random::new(seed.rotate_left(17));
    for _ in 0..actions {
        let action = Action::random(&mut luck);
        if show {
            println!("{action:?}");
        }
        world.act(&action);
        if !world.broken().is_empty() {
            return world;
        }
    }
    world.settle();
    world
}
