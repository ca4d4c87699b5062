# Each part alone, as it may be used without the whole.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { id = "eu-west-1" }
  }
}

variables {
  name = "prod"
}

run "what_rotates_is_written_once_and_the_rest_by_its_number" {
  command = plan

  module {
    source = "./modules/secrets"
  }

  variables {
    secrets        = { "db/password" = { rotate = true }, "mail/api-key" = {}, "later" = {} }
    values         = { "db/password" = "DEMO-first", "mail/api-key" = "DEMO-key" }
    value_versions = { "db/password" = 1, "mail/api-key" = 2 }
    replicas       = { us-east-1 = { kms_key_arn = "arn:aws:kms:us-east-1:123456789012:key/mrk-1" } }
    kms_key_arn    = "arn:aws:kms:eu-west-1:123456789012:key/mrk-1"
  }

  assert {
    condition     = keys(aws_secretsmanager_secret_version.first) == ["prod/db/password"] && keys(aws_secretsmanager_secret_version.written) == ["prod/mail/api-key"]
    error_message = "Only what has a number is written, and what rotates apart."
  }

  assert {
    condition     = aws_secretsmanager_secret_version.first["prod/db/password"].version_stages == toset(["AWSCURRENT", "terraform"])
    error_message = "The first value keeps a label, so that AWS never sweeps it and Terraform never puts it again."
  }

  assert {
    condition     = aws_secretsmanager_secret_version.written["prod/mail/api-key"].secret_string_wo_version == 2
    error_message = "The number is what Terraform remembers of a value."
  }

  assert {
    condition     = alltrue([for secret in aws_secretsmanager_secret.this : !secret.force_overwrite_replica_secret && secret.recovery_window_in_days == 30 && secret.kms_key_id == "arn:aws:kms:eu-west-1:123456789012:key/mrk-1"])
    error_message = "Nothing in another region is overwritten, and what is destroyed can be had back."
  }

  assert {
    condition     = alltrue([for secret in aws_secretsmanager_secret.this : one(secret.replica).region == "us-east-1"])
    error_message = "Every secret is copied."
  }
}

run "the_key_is_used_in_every_region_and_the_log_alone_has_a_grant" {
  command = plan

  module {
    source = "./modules/kms"
  }

  variables {
    log_groups = ["/aws/lambda/prod-rotation"]
  }

  assert {
    condition     = aws_kms_key.this.multi_region && aws_kms_key.this.enable_key_rotation && aws_kms_alias.this.name == "alias/strongroom/prod"
    error_message = "One key for all regions, turned over by KMS."
  }

  assert {
    condition     = jsondecode(aws_kms_key.this.policy).Statement[1].Condition.ArnLike["kms:EncryptionContext:aws:logs:arn"] == ["arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/prod-rotation"]
    error_message = "CloudWatch encrypts that log group and no other."
  }
}

run "only_secrets_manager_of_this_account_calls_the_function" {
  command = plan

  module {
    source = "./modules/rotation"
  }

  variables {
    package            = "versions.tf"
    secrets            = { "db/password" = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db/password-AbCdEf" }
    rotator_policy_arn = "arn:aws:iam::123456789012:policy/prod-rotator"
    tick               = null
    schedule           = "cron(0 3 ? * SUN *)"
    window             = "2h"
  }

  assert {
    condition     = aws_lambda_permission.secrets_manager.source_account == "123456789012" && length(aws_lambda_permission.tick) == 0
    error_message = "Without the account anybody's Secrets Manager could call; without a timer no timer."
  }

  assert {
    condition     = aws_secretsmanager_secret_rotation.this["db/password"].rotation_rules[0].schedule_expression == "cron(0 3 ? * SUN *)"
    error_message = "The schedule is Secrets Manager's."
  }

  assert {
    condition     = aws_lambda_function.this.runtime == "python3.13" && aws_lambda_function.this.handler == "strongroom_rotation.handler" && aws_sqs_queue.dead.sqs_managed_sse_enabled
    error_message = "It runs what the packager made, and what fails is kept encrypted."
  }
}

run "failed_given_up_and_overdue_rotations_are_told" {
  command = plan

  module {
    source = "./modules/alarms"
  }

  variables {
    function_name      = "prod-rotation"
    dead_letter_name   = "prod-rotation-dead"
    alarm_actions      = ["arn:aws:sns:eu-west-1:123456789012:people", "arn:aws:lambda:eu-west-1:123456789012:function:pager"]
    overdue_after_days = 35
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.failed.event_pattern).detail.eventName == ["RotationAbandoned", "RotationFailed"]
    error_message = "Both ends of a rotation that did not succeed."
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.failed.event_pattern).detail.additionalEventData.SecretId[0].wildcard == "arn:*:secret:prod/*"
    error_message = "Other stores of the region have alarms of their own."
  }

  assert {
    condition     = [for target in aws_cloudwatch_event_target.failed : target.arn] == ["arn:aws:sns:eu-west-1:123456789012:people"]
    error_message = "A topic gets the event itself."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.overdue[0].threshold == 35 * 86400 && aws_cloudwatch_metric_alarm.overdue[0].treat_missing_data == "breaching"
    error_message = "A function that tells nothing is overdue too."
  }
}

run "the_function_reaches_endpoints_and_its_targets_and_nothing_else" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    vpc_id     = "vpc-1"
    subnet_ids = ["subnet-1", "subnet-2"]
    targets    = { orders = { security_group_id = "sg-1", port = 5432 } }
  }

  assert {
    condition     = aws_vpc_endpoint.this["secretsmanager"].service_name == "com.amazonaws.eu-west-1.secretsmanager" && aws_vpc_endpoint.this["secretsmanager"].private_dns_enabled
    error_message = "Values go by the endpoint."
  }

  assert {
    condition     = aws_vpc_security_group_egress_rule.targets["orders"].referenced_security_group_id == "sg-1" && aws_vpc_security_group_egress_rule.targets["orders"].from_port == 5432
    error_message = "Its targets by group and port; no address is open to it."
  }
}
