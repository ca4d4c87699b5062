locals {
  # Addressed by the whole name: another prefix is another secret, never a replacement under one address.
  secrets = { for name, secret in var.secrets : "${var.name}/${name}" => secret }
  written = { for name, version in var.value_versions : "${var.name}/${name}" => { name = name, version = version } }
  rotated = { for path, secret in local.secrets : path => secret.rotate }
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57: which secrets rotate is said by `rotate`; one that a person or another system gives cannot
  for_each = local.secrets

  name                    = each.key
  description             = each.value.description
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.recovery_window_days
  # What stands under this name in another region is no copy of ours; overwriting it destroys all its versions.
  force_overwrite_replica_secret = false
  tags                           = merge(var.tags, each.value.tags)

  dynamic "replica" {
    for_each = var.replicas

    content {
      region     = replica.key
      kms_key_id = replica.value.kms_key_arn
    }
  }
}

# Of what this module alone writes: another number in value_versions puts the value as a new version.
resource "aws_secretsmanager_secret_version" "written" {
  for_each = { for path, value in local.written : path => value if !local.rotated[path] }

  secret_id                = aws_secretsmanager_secret.this[each.key].id
  secret_string_wo         = lookup(var.values, each.value.name, "")
  secret_string_wo_version = each.value.version
}

# The first value of what is rotated, put once: no number, and no version that AWS has swept, brings it back over a
# rotated one. Secrets Manager removes versions without a label beyond a hundred, so this one has a label of its own.
# https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html
resource "aws_secretsmanager_secret_version" "first" {
  for_each = { for path, value in local.written : path => value if local.rotated[path] }

  secret_id                = aws_secretsmanager_secret.this[each.key].id
  secret_string_wo         = lookup(var.values, each.value.name, "")
  secret_string_wo_version = each.value.version
  version_stages           = ["AWSCURRENT", "terraform"]

  lifecycle {
    ignore_changes = [secret_string_wo_version, version_stages]
  }
}
