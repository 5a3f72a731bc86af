package lambdaapi

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/seed429fd032/esm/awsconfig"
)

// seconds is a time as AWS's clients read it: a number.
func seconds(t time.Time) json.Number {
	return json.Number(strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', -1, 64))
}

// shown is a mapping as the API answers with it. state is what the request has made it, ""
// for what it is.
func (h *Host) shown(r *Record, state string) map[string]any {
	is := map[string]any{}
	if r.unreadable == nil {
		is = configShown(r)
	}
	is["UUID"], is["FunctionArn"], is["EventSourceMappingArn"] = r.UUID, r.FunctionArn, h.mappingArn(r)
	is["LastModified"], is["StateTransitionReason"] = seconds(r.LastModified), r.Reason
	own, result := h.observed(r)
	switch state {
	case "":
		state = own
	case "Creating":
		result = noRecords // as AWS's first answer, however fast it was
	}
	is["State"], is["LastProcessingResult"] = state, result
	return is
}

// mappingArn is the ARN of a mapping, with the account and region of its function.
func (h *Host) mappingArn(r *Record) string {
	name, _ := nameOf(r.FunctionArn)
	name = name.in("aws", h.config.Region, h.config.Account)
	return "arn:" + name.Partition + ":lambda:" + name.Region + ":" + name.Account + ":event-source-mapping:" + r.UUID
}

// configShown is the Config in an answer: with the defaults that AWS shows, and without what
// was cleared.
func configShown(r *Record) map[string]any {
	is := without(&r.Config, "FunctionName", "Enabled", "Tags")
	if r.Config.BatchSize == nil {
		is["BatchSize"] = 100
	}
	if r.Config.StartingPosition == "" {
		is["StartingPosition"] = "TRIM_HORIZON"
	}
	kafka := "SelfManagedKafkaEventSourceConfig"
	if r.Config.EventSourceArn != "" {
		kafka = "AmazonManagedKafkaEventSourceConfig"
	}
	of, _ := is[kafka].(map[string]any)
	if of == nil {
		of = map[string]any{}
		is[kafka] = of
	}
	of["ConsumerGroupId"] = r.group()
	if servers := r.servers(); len(servers) > 0 {
		is["SelfManagedEventSource"] = map[string]any{"Endpoints": map[string]any{"KAFKA_BOOTSTRAP_SERVERS": slices.Sorted(slices.Values(servers))}}
	}
	return is
}

// without is a Config as JSON has it, without some parameters and without those that say
// nothing.
func without(c *awsconfig.Config, names ...string) map[string]any {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // it was written from JSON
	}
	is := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&is); err != nil {
		panic(err)
	}
	maps.DeleteFunc(is, func(name string, v any) bool { return blank(v) || slices.Contains(names, name) })
	return is
}

// blank reports whether a value says nothing: it is empty, or has only what is.
func blank(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, of := range v {
			if !blank(of) {
				return false
			}
		}
		return true
	}
	return false
}
