#!/usr/bin/env node
/** The program's start: hands the command line on and ends with its exit code. */
import { runCommandLine } from "./cli/program.ts";

process.exitCode = await runCommandLine(process.argv.slice(2));
