variable "values" {
  description = "The secrets' values by name. They are read from the environment or a pipe at each run, and never kept."
  type        = map(string)
  ephemeral   = true
  sensitive   = true
}

variable "value_versions" {
  description = "Which secrets there are, each with a number to count up to write its value anew."
  type        = map(number)
}
