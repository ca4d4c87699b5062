mock_provider "aws" {}

variables {
  name       = "prod/app"
  account_id = "123456789012"
  region     = "eu-west-1"
}

run "each_role_of_a_principal_gets_its_own_policy_and_no_other" {
  command = plan

  variables {
    readers        = ["arn:aws:iam::123456789012:role/teams/payments/app", "arn:aws:iam::123456789012:role/report"]
    administrators = ["arn:aws:iam::123456789012:role/report"]
  }

  assert {
    condition     = [for at in values(aws_iam_role_policy_attachment.this) : at.role] == ["report", "report", "app"]
    error_message = "A role's path is no part of its name."
  }

  assert {
    condition     = [for policy in values(aws_iam_policy.this) : policy.name] == [for role in ["administrator", "reader", "rotator"] : "prod-app-eu-west-1-${role}"]
    error_message = "A policy's name has the store's, without slashes, and its region."
  }

  assert {
    condition     = aws_iam_policy.this["reader"].policy == output.reader_policy && output.reader_policy != output.rotator_policy
    error_message = "Each policy has its own document."
  }
}

run "who_is_no_role_is_refused" {
  command = plan

  variables {
    readers = ["arn:aws:iam::123456789012:user/somebody"]
  }

  expect_failures = [var.readers]
}

run "an_account_is_twelve_digits" {
  command = plan

  variables {
    account_id = "1234"
  }

  expect_failures = [var.account_id]
}
