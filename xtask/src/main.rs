//! The workshop: `cargo xtask demo`, `cargo xtask test`, `cargo xtask bench`, `cargo xtask fuzz`, `cargo xtask aws-schema`.

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a workshop talks")]

mod aws_schema;
mod bench;
mod crowd;
mod demo;
mod fuzz;
mod pack;
mod shell;
mod status;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Work on npc
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Publish the example fleet twice to three agents, and tell what happened
    Demo,
    /// Run every check and test
    Test {
        /// Only tests whose names contain this
        filter: Option<String>,
    },
    /// Throw inputs at everything that reads what comes from outside, guided by coverage
    Fuzz {
        /// One target alone
        target: Option<String>,
        /// For so many seconds each
        #[arg(default_value_t = 60)]
        seconds: u32,
    },
    /// Write anew what the AWS provider takes and gives for the resources that the Terraform modules use
    AwsSchema,
    /// Measure
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What a poll of an unchanged remote costs
    Poll {
        /// How many polls
        #[arg(long, default_value_t = 1000)]
        polls: u32,
    },
    /// How long the status of a large fleet takes
    Status {
        /// How many hosts
        #[arg(long, default_value_t = 5000)]
        hosts: usize,
    },
    /// What very many agents ask of a store, when they ask, and what that costs on S3
    Crowd {
        /// How many hosts
        #[arg(long, default_value_t = 1000)]
        hosts: usize,
    },
    /// How fast archives are compressed, by back end
    Archive,
    /// What packing takes in a repository of 100,000 files, next to packing all of it
    Pack {
        /// How many files that no host needs
        #[arg(long, default_value_t = 100_000)]
        files: usize,
    },
}

/// What a task says when it fails.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Demo => demo::demo(),
        Task::Test { filter } => test::test(filter.as_deref()),
        Task::Fuzz { target, seconds } => fuzz::fuzz(target.as_deref(), seconds),
        Task::AwsSchema => aws_schema::aws_schema(),
        Task::Bench(Bench::Poll { polls }) => bench::poll(polls),
        Task::Bench(Bench::Status { hosts }) => status::status(hosts),
        Task::Bench(Bench::Crowd { hosts }) => crowd::crowd(hosts),
        Task::Bench(Bench::Archive) => bench::archive(),
        Task::Bench(Bench::Pack { files }) => pack::pack(files),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}
