locals {
  # Key Vault's grants know vaults and single secrets, and no prefixes: a store has a vault of its own.
  actions = {
    reader = {
      secrets = ["getSecret/action", "readMetadata/action"]
      keys    = ["unwrap/action"]
    }
    # A revoked version is disabled, which is an update of it.
    rotator = {
      secrets = ["getSecret/action", "readMetadata/action", "setSecret/action", "update/action"]
      keys    = ["unwrap/action", "wrap/action"]
    }
    administrator = {
      secrets = ["delete", "getSecret/action", "purge/action", "readMetadata/action", "recover/action", "setSecret/action", "update/action"]
      keys    = ["unwrap/action", "wrap/action"]
    }
  }

  data_actions = {
    for role, of in local.actions : role => concat(
      [for action in of.secrets : "Microsoft.KeyVault/vaults/secrets/${action}"],
      [for action in of.keys : "Microsoft.KeyVault/vaults/keys/${action}" if var.encrypted],
    )
  }
}
