/** Where the configuration is looked for when nobody says. */

/** The file that commands use without `--config`, relative to the working directory. */
export const DEFAULT_CONFIG_FILE = "config/gateway.yaml";
