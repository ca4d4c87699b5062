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

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:123456789012:key/mrk-1" }
  }

  mock_resource "aws_lambda_function" {
    defaults = { arn = "arn:aws:lambda:eu-west-1:123456789012:function:prod-rotation" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/prod-rotation" }
  }

  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/prod" }
  }

  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:eu-west-1:123456789012:prod-rotation-dead" }
  }

  mock_resource "aws_cloudwatch_event_rule" {
    defaults = { arn = "arn:aws:events:eu-west-1:123456789012:rule/prod" }
  }
}

variables {
  name = "prod"

  secrets = {
    "db/password"  = { rotate = true, description = "The application's login", tags = { owner = "ledger" } }
    "mail/api-key" = {}
    "later"        = {}
  }

  values         = { "db/password" = "DEMO-first", "mail/api-key" = "DEMO-key" }
  value_versions = { "db/password" = 1, "mail/api-key" = 2 }
  tags           = { team = "payments" }
}

run "secrets_lie_below_the_prefix_under_the_stores_own_key" {
  assert {
    condition     = output.store_url == "aws-sm://eu-west-1/prod" && output.kms_key_arn == "arn:aws:kms:eu-west-1:123456789012:key/mrk-1"
    error_message = "The URL names region and prefix: ${output.store_url}"
  }

  assert {
    condition     = join(" ", keys(output.secret_arns)) == "db/password later mail/api-key"
    error_message = "Every secret is made, with or without a value."
  }

  assert {
    condition     = output.strongroom_toml == "[store.prod]\nurl = \"aws-sm://eu-west-1/prod\"\n"
    error_message = "One region is one store: ${output.strongroom_toml}"
  }

  assert {
    condition     = output.function_arn == null && output.alarm_arns == null && output.function_security_group_id == null
    error_message = "Nothing rotates that was not asked for."
  }
}

run "copies_in_other_regions_have_stores_of_their_own" {
  variables {
    replicas = { us-east-1 = { kms_key_arn = "arn:aws:kms:us-east-1:123456789012:key/mrk-1" }, ap-southeast-2 = {} }
  }

  assert {
    condition     = strcontains(output.strongroom_toml, "regions = { us-east-1 = \"arn:aws:kms:us-east-1:123456789012:key/mrk-1\" }") && strcontains(output.strongroom_toml, "regions = { ap-southeast-2 = \"\" }")
    error_message = "Each copy names its key, or none: ${output.strongroom_toml}"
  }

  assert {
    condition     = strcontains(output.strongroom_toml, "failover = [\"prod-eu-west-1\",\"prod-ap-southeast-2\",\"prod-us-east-1\"]")
    error_message = "The store that applications open fails over to the copies: ${output.strongroom_toml}"
  }

  assert {
    condition     = strcontains(output.reader_policy, "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/*")
    error_message = "Readers read the copies too."
  }
}

run "before_the_package_there_is_what_it_is_packed_with" {
  command = plan

  variables {
    rotation = { rotator = "acme.rotators:Ledger", options = { host = "db.example.net" } }
  }

  assert {
    condition     = strcontains(output.strongroom_toml, "[rotation.prod]\nstore = \"prod\"\nnames = [\"db/password\"]\nrotator = \"acme.rotators:Ledger\"") && strcontains(output.strongroom_toml, "url = \"strongroom://prod\"")
    error_message = "The zip holds this: ${output.strongroom_toml}"
  }

  assert {
    condition     = output.function_arn == null
    error_message = "No zip, no function."
  }
}

run "a_function_rotates_and_alarms_watch_it" {
  variables {
    rotation      = { package = "versions.tf" }
    alarm_actions = ["arn:aws:sns:eu-west-1:123456789012:alarms"]
  }

  assert {
    condition     = output.function_arn == "arn:aws:lambda:eu-west-1:123456789012:function:prod-rotation"
    error_message = "There is a function."
  }

  assert {
    condition     = join(" ", keys(output.alarm_arns)) == "dead errors failed overdue"
    error_message = "Each way to fail has an alarm."
  }
}

run "a_function_without_a_timer_tells_no_ages" {
  variables {
    rotation = { package = "versions.tf", tick = "" }
  }

  assert {
    condition     = join(" ", keys(output.alarm_arns)) == "dead errors failed"
    error_message = "An alarm that nothing feeds would ring for ever."
  }
}

run "in_a_vpc_the_function_has_a_group_of_its_own" {
  variables {
    rotation = { package = "versions.tf" }
    network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], targets = { orders = { security_group_id = "sg-1", port = 5432 } } }
  }

  assert {
    condition     = output.function_security_group_id != null
    error_message = "What it rotates must be able to let it in."
  }
}

run "a_name_that_is_no_prefix_is_refused" {
  command = plan

  variables {
    name = "Prod/"
  }

  expect_failures = [var.name]
}

run "a_value_for_no_secret_is_refused" {
  command = plan

  variables {
    value_versions = { "nobody" = 1 }
  }

  expect_failures = [var.value_versions]
}
