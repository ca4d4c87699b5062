variable "name" {
  description = "Prefix of the store whose rotations are watched."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$", var.name))
    error_message = "The name is lower-case letters, digits and dashes, in parts joined by /."
  }
}

variable "function_name" {
  description = "Name of the rotation function."
  type        = string
  nullable    = false
}

variable "dead_letter_name" {
  description = "Name of the queue of events that the function failed."
  type        = string
  nullable    = false
}

variable "alarm_actions" {
  description = "ARNs of what an alarm calls. An SNS topic gets the events too, if its policy lets events.amazonaws.com publish."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "overdue_after_days" {
  description = "Age in days from which a rotating value is overdue: the schedule's length, its window and a margin. Null for no such alarm."
  type        = number
  default     = null

  validation {
    condition     = var.overdue_after_days == null || coalesce(var.overdue_after_days, 1) > 0
    error_message = "An age is more than 0 days."
  }
}

variable "tags" {
  description = "Tags of rule and alarms."
  type        = map(string)
  default     = {}
  nullable    = false
}
