output "function_arn" {
  description = "ARN of the rotation function."
  value       = aws_lambda_function.this.arn
}

output "function_name" {
  description = "Name of the rotation function."
  value       = aws_lambda_function.this.function_name
}

output "role_arn" {
  description = "ARN of the function's role, for what its rotator reaches."
  value       = aws_iam_role.function.arn
}

output "dead_letter_arn" {
  description = "ARN of the queue of events that the function failed."
  value       = aws_sqs_queue.dead.arn
}

output "dead_letter_name" {
  description = "Name of the queue of events that the function failed."
  value       = aws_sqs_queue.dead.name
}

output "log_group" {
  description = "Name of the function's log group."
  value       = aws_cloudwatch_log_group.function.name
}
