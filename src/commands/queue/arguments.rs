//! The command line of `onsale queue`: its commands, and what each takes.

use clap::{Arg, ArgAction, value_parser};

use super::seats::SeatList;

fn sub(name: &'static str, about: &'static str) -> clap::Command {
    clap::Command::new(name).about(about)
}

fn number(id: &'static str, help: &'static str) -> Arg {
    Arg::new(id).value_name("NUMBER").value_parser(value_parser!(i64)).help(help)
}

fn text(id: &'static str, name: &'static str, help: &'static str) -> Arg {
    Arg::new(id).value_name(name).help(help)
}

/// The command line of `onsale queue`.
pub(in crate::commands) fn command() -> clap::Command {
    let knob = "A number (0 lets nobody in), or `default`: what the servers are configured with";
    let moment = "RFC 3339, `now`, or `default`: what the servers are configured with";
    let command = clap::Command::new("queue")
        .about("Steer a sale that goes on, by any of its servers; ONSALE_ADMIN_TOKEN says who may")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            text("url", "URL", "The server, http:// [default: http://127.0.0.1:8080]")
                .long("url")
                .env("ONSALE_URL")
                .global(true),
        )
        .arg(
            number("concert", "Which concert; needed if there are several")
                .long("concert")
                .global(true),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .global(true)
                .help("Print what the server answers, as JSON"),
        )
        .subcommand(sub("show", "How every sale goes"))
        .subcommand(sub("pause", "Let nobody in; whoever is inside goes on"))
        .subcommand(sub("resume", "Let people in again"))
        .subcommand(
            sub("capacity", "The most people inside")
                .arg(text("value", "VALUE", knob).required(true)),
        )
        .subcommand(
            sub("batch", "The most people let in per second")
                .arg(text("value", "VALUE", knob).required(true)),
        )
        .subcommand(
            sub("message", "Tell everybody who waits; without a text, nothing any more").arg(text(
                "text",
                "TEXT",
                "One line, 1 to 500 characters",
            )),
        )
        .subcommand(
            sub("open", "Open the sale")
                .arg(text("at", "MOMENT", moment).long("at").default_value("now")),
        )
        .subcommand(
            sub("close", "Close the sale: nobody comes in, whoever is inside goes on")
                .arg(text("at", "MOMENT", moment).long("at").default_value("now")),
        )
        .subcommand(
            sub(
                "beacon",
                "Post the value of the beacon's round that a lottery is bound to; it stays",
            )
            .arg(text("value", "HEX", "16 to 128 hex digits").required(true)),
        );
    about_people(command).subcommand(sub("audit", "What operators have done, the newest first"))
}

/// What is about people and their seats.
fn about_people(command: clap::Command) -> clap::Command {
    command
        .subcommand(
            sub("lookup", "What is known of a user, or of a token")
                .arg(number("user", "The user, in the concert").long("user"))
                .arg(text("token", "TOKEN", "The queue token").long("token"))
                .group(clap::ArgGroup::new("whom").args(["user", "token"]).required(true)),
        )
        .subcommand(
            sub("clear", "Take everybody's place who waits; whoever is inside goes on").arg(
                Arg::new("yes").long("yes").action(ArgAction::SetTrue).help("Do not ask first"),
            ),
        )
        .subcommand(some_seats(
            "release",
            "Give people's holds back; the holders keep their places",
        ))
        .subcommand(sub("withheld", "Which seats are held back from sale"))
        .subcommand(some_seats("withhold", "Hold seats back from sale, all or none of them"))
        .subcommand(some_seats("give-back", "Give withheld seats back to the sale"))
}

/// A command about seats of one date.
fn some_seats(name: &'static str, about: &'static str) -> clap::Command {
    let date = Arg::new("date").long("date").value_name("DATE").required(true);
    let seats = Arg::new("seats").long("seats").value_name("SEATS").required(true);
    clap::Command::new(name).about(about).arg(date.help("Of which date, YYYY-MM-DD")).arg(
        seats
            .value_parser(SeatList::parse)
            .help("Which: 1,2,10-20; at most 200 at a time, holds of people 20"),
    )
}
